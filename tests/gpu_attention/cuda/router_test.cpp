#include "gpu_attention/cuda/router.h"

#include <cmath>
#include <set>

#include "core/model_shape.h"
#include "gpu_attention/cuda/router_reference.h"
#include "gpu_attention/host/router.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t tokens, hidden, experts, top_k, groups = 1, top_k_groups = 1;
};
constexpr Shape kShapes[] = {
    {1, 64, 8, 2},       {7, 96, 13, 3},  {8, 32, 16, 16},  {9, 64, 32, 8},   {33, 96, 64, 6, 8, 3},
    {3, 64, 8, 1, 8, 4}, {64, 64, 40, 8}, {65, 544, 24, 4}, {1, 7168, 40, 8}, {2, 1056, 384, 8},
};
// |F32 sum - exact| of a logit, whose terms have a sum of absolute values below 80.
constexpr double kLogitBound = 4 * 80.0 / (1 << 24);

struct Inputs {
  std::vector<bf16> x;      // [tokens, hidden]
  std::vector<float> gate;  // [experts, hidden]
  std::vector<float> bias;
  std::vector<int32_t> slot_of;
};

Inputs MakeInputs(const Shape& shape, bool bf16_gate, uint32_t seed) {
  Inputs inputs;
  inputs.x = ToBf16s(RandomFloats(int64_t{shape.tokens} * shape.hidden, seed));
  inputs.gate = RandomFloats(int64_t{shape.experts} * shape.hidden, seed + 1,
                             1.0f / std::sqrt(float(shape.hidden)));
  if (bf16_gate) inputs.gate = ToFloats(ToBf16s(inputs.gate));
  inputs.bias = RandomFloats(shape.experts, seed + 2, 0.1f);
  for (int32_t e = 0; e < shape.experts; ++e) inputs.slot_of.push_back(e % 3 == 1 ? e / 3 : -1);
  return inputs;
}

struct Routes {
  std::vector<int32_t> expert_ids;
  std::vector<float> weights;
};

class RouterTest : public GpuTest {
 protected:
  Routes Run(const Shape& shape, const Inputs& inputs, bool bf16_gate, bool hot, bool norm = true) {
    const DeviceTensor<bf16> x(inputs.x), gate_bf16(ToBf16s(inputs.gate));
    const DeviceTensor<float> gate_f32(inputs.gate), bias(inputs.bias);
    const DeviceTensor<int32_t> slot_of(inputs.slot_of);
    const DeviceTensor<float> workspace(
        RouterWorkspaceFloats(shape.tokens, shape.hidden, shape.experts));
    const DeviceTensor<int32_t> ids(int64_t{shape.tokens} * shape.top_k);
    const DeviceTensor<float> weights(int64_t{shape.tokens} * shape.top_k);
    RouterArgs args = {.tokens = shape.tokens,
                       .hidden = shape.hidden,
                       .experts = shape.experts,
                       .top_k = shape.top_k,
                       .expert_groups = shape.groups,
                       .top_k_groups = shape.top_k_groups,
                       .norm_top_k = norm,
                       .routed_scaling = 2.5f,
                       .x = x.view(),
                       .gate_bf16 = nullptr,
                       .gate_f32 = nullptr,
                       .bias = bias.view(),
                       .slot_of = nullptr,
                       .workspace = workspace.data(),
                       .expert_ids = ids.data(),
                       .weights = weights.data()};
    if (bf16_gate) args.gate_bf16 = gate_bf16.view();
    if (!bf16_gate) args.gate_f32 = gate_f32.view();
    if (hot) args.slot_of = slot_of.view();
    Router(*stream_, args);
    workspace.Read(*stream_);
    return {ids.Read(*stream_), weights.Read(*stream_)};
  }

  // Where two experts are closer than the bound, either is right.
  void Check(const Shape& shape, const Inputs& inputs, const Routes& routes, bool hot, bool norm) {
    const int64_t pairs = int64_t{shape.tokens} * shape.top_k;
    std::vector<double> score(int64_t{shape.tokens} * shape.experts), choice(score), weights(pairs);
    std::vector<int32_t> ids(pairs);
    RouterReference({.tokens = shape.tokens,
                     .hidden = shape.hidden,
                     .experts = shape.experts,
                     .top_k = shape.top_k,
                     .expert_groups = shape.groups,
                     .top_k_groups = shape.top_k_groups,
                     .norm_top_k = norm,
                     .routed_scaling = 2.5,
                     .x = inputs.x.data(),
                     .gate = inputs.gate.data(),
                     .bias = inputs.bias.data(),
                     .score = score.data(),
                     .choice = choice.data(),
                     .expert_ids = ids.data(),
                     .weights = weights.data()});
    for (int32_t t = 0; t < shape.tokens; ++t) {
      std::set<int32_t> seen;
      for (int32_t k = 0; k < shape.top_k; ++k) {
        const int64_t i = int64_t{t} * shape.top_k + k;
        const int32_t id = routes.expert_ids[i], expert = id < 0 ? ~id : id;
        ASSERT_TRUE(expert >= 0 && expert < shape.experts && seen.insert(expert).second) << id;
        EXPECT_EQ(id < 0, hot && inputs.slot_of[expert] >= 0) << expert;
        EXPECT_NEAR(choice[int64_t{t} * shape.experts + expert],
                    choice[int64_t{t} * shape.experts + ids[i]], kLogitBound)
            << "token " << t << " k " << k << " took " << expert << " for " << ids[i];
        EXPECT_NEAR(routes.weights[i], weights[i], weights[i] * 2 * kLogitBound) << t << " " << k;
      }
    }
  }
};

TEST_F(RouterTest, ChoosesAsTheReference) {
  uint32_t seed = 1;
  for (const Shape& shape : kShapes) {
    for (const bool bf16_gate : {true, false}) {
      SCOPED_TRACE(testing::Message() << shape.tokens << " x " << shape.hidden << " to "
                                      << shape.experts << (bf16_gate ? " bf16" : " f32"));
      const Inputs inputs = MakeInputs(shape, bf16_gate, seed += 10);
      const bool hot = seed % 20 < 10, norm = seed % 30 < 20;
      Check(shape, inputs, Run(shape, inputs, bf16_gate, hot, norm), hot, norm);
    }
  }
}

// The same logits on the CPU: the very same choice.
TEST_F(RouterTest, ChoosesAsTheHost) {
  const Shape shape = {5, 64, 64, 6, 8, 3};
  const Inputs inputs = MakeInputs(shape, true, 77);
  const Routes routes = Run(shape, inputs, true, false);
  ModelShape model;
  model.experts = shape.experts, model.top_k = shape.top_k;
  model.expert_groups = shape.groups, model.top_k_groups = shape.top_k_groups;
  model.routed_scaling = 2.5f;
  for (int32_t t = 0; t < shape.tokens; ++t) {
    std::vector<float> logits(shape.experts), scratch(shape.experts), weights(shape.top_k);
    std::vector<int32_t> ids(shape.top_k);
    for (int32_t e = 0; e < shape.experts; ++e) {
      for (int32_t i = 0; i < shape.hidden; ++i) {
        logits[e] += ToFloat(inputs.x[t * shape.hidden + i]) * inputs.gate[e * shape.hidden + i];
      }
    }
    ChooseExperts(model, logits, inputs.bias, scratch, ids, weights);
    for (int32_t k = 0; k < shape.top_k; ++k) {
      EXPECT_EQ(routes.expert_ids[t * shape.top_k + k], ids[k]) << t << " " << k;
      EXPECT_NEAR(routes.weights[t * shape.top_k + k], weights[k], 1e-5) << t << " " << k;
    }
  }
}

TEST_F(RouterTest, TheLowerIndexFirstAmongEquals) {
  const Shape shape = {3, 64, 100, 8, 4, 2};
  Inputs inputs = MakeInputs(shape, true, 5);
  for (size_t i = shape.hidden; i < inputs.gate.size(); ++i)
    inputs.gate[i] = inputs.gate[i - shape.hidden];
  inputs.bias.assign(shape.experts, 0.25f);
  inputs.bias[60] = 0.5f;  // the group 50..74 goes first, then 0..24
  const Routes routes = Run(shape, inputs, true, false);
  for (int32_t t = 0; t < shape.tokens; ++t) {
    for (int32_t k = 0; k < shape.top_k; ++k) {
      EXPECT_EQ(routes.expert_ids[t * shape.top_k + k], k == 0 ? 60 : k - 1) << t;
    }
  }
}

// Slices in blocks of their own or in one, tiles of 8 or 32 tokens: the same bits.
// A damaged step's numbers must not become addresses.
TEST_F(RouterTest, NotANumberStillNamesDistinctExperts) {
  const Shape shape = {2, 64, 40, 8};
  Inputs inputs = MakeInputs(shape, true, 5);
  inputs.x[3] = ToBf16(NAN);  // of token 0
  const Routes routes = Run(shape, inputs, true, false);
  for (int32_t t = 0; t < shape.tokens; ++t) {
    const auto begin = routes.expert_ids.begin() + t * shape.top_k;
    const std::set<int32_t> ids(begin, begin + shape.top_k);
    EXPECT_EQ(std::ssize(ids), shape.top_k);
    EXPECT_GE(*ids.begin(), 0);
    EXPECT_LT(*ids.rbegin(), shape.experts);
    EXPECT_EQ(std::isnan(routes.weights[t * shape.top_k]), t == 0);
  }
}

TEST_F(RouterTest, ATokenDoesNotSeeItsBatch) {
  for (const bool bf16_gate : {true, false}) {
    const Shape all = {70, 1088, 20, 4}, alone = {1, 1088, 20, 4};
    const Inputs inputs = MakeInputs(all, bf16_gate, 9);
    const Routes batch = Run(all, inputs, bf16_gate, true);
    for (const int32_t t : {0, 13, 69}) {
      Inputs one = inputs;
      one.x.assign(inputs.x.begin() + t * all.hidden, inputs.x.begin() + (t + 1) * all.hidden);
      const Routes single = Run(alone, one, bf16_gate, true);
      for (int32_t k = 0; k < all.top_k; ++k) {
        EXPECT_EQ(single.expert_ids[k], batch.expert_ids[t * all.top_k + k]);
        EXPECT_EQ(single.weights[k], batch.weights[t * all.top_k + k]);
      }
    }
  }
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
