#include "gpu_attention/cuda/hot_experts.h"

#include <algorithm>

#include "cpu_experts/kernel_choice.h"
#include "gpu_attention/cuda/arrange_inputs.h"
#include "tests/gpu_attention/cuda/expert_case.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

using test::MoeCase;
using test::MoeCaseShape;
using test::PackedExperts;

struct Shape {
  MoeCaseShape moe;
  int n_shards;
  int32_t hot_of_8;  // how many experts of eight are hot
};
constexpr auto kUniform = test::Routing::kUniform;
constexpr auto kOneExpert = test::Routing::kOneExpert;
// tokens, hidden, width, experts, top_k
const Shape kShapes[] = {
    {{"one token, all hot", 1, 64, 64, 8, 8, kUniform}, 1, 8},
    {{"one token, one column unit", 1, 64, 32, 8, 2, kUniform}, 1, 4},
    {{"none hot", 5, 96, 64, 8, 3, kUniform}, 1, 0},
    {{"7 tokens on one expert", 7, 96, 96, 4, 2, kOneExpert}, 1, 8},
    {{"8 tokens, two shards", 8, 96, 96, 16, 4, kUniform}, 2, 5},
    {{"9 tokens on one expert", 9, 64, 160, 4, 1, kOneExpert}, 3, 8},
    {{"33 tokens on one expert, three shards", 33, 96, 128, 3, 2, kOneExpert}, 3, 8},
    {{"40 tokens", 40, 64, 64, 12, 3, kUniform}, 2, 3},
    {{"a long row", 1, 7168, 32, 2, 2, kUniform}, 1, 8},
    {{"a wide expert", 2, 32, 1056, 3, 2, kUniform}, 2, 8},
};

// Every eighth of the experts in turn; slots in another order than ids.
std::vector<int32_t> SlotsOf(const Shape& shape) {
  std::vector<int32_t> slot_of;
  for (int32_t e = 0; e < shape.moe.experts; ++e)
    slot_of.push_back((e * 3 + 7) % 8 < shape.hot_of_8 ? shape.moe.experts - 1 - e : -1);
  return slot_of;
}

// What HotExperts() reads and writes, on the device.
struct HotLayer {
  const MoeCaseShape& shape;
  const PackedExperts& packed;
  int64_t stride;
  std::vector<int32_t> slots;
  DeviceTensor<uint8_t> pool, workspace;
  DeviceTensor<bf16> x;
  DeviceTensor<int32_t> ids, slot_of;
  DeviceTensor<float> weights, y;

  HotLayer(const MoeCase& c, const PackedExperts& packed, const std::vector<int32_t>& slots)
      : shape(c.shape),
        packed(packed),
        stride(packed.layout.expert_bytes() + 64),
        slots(slots),
        pool(Pool()),
        workspace(HotExpertsWorkspaceBytes(shape.tokens, shape.top_k, shape.experts, packed.cuts)),
        x(c.x),
        ids(RouterIds(c)),
        slot_of(slots),
        weights(c.weights),
        y(int64_t{shape.tokens} * shape.hidden) {}

  // The hot experts at their slots, poison everywhere else.
  std::vector<uint8_t> Pool() const {
    const int64_t bytes = packed.layout.expert_bytes();
    std::vector<uint8_t> pool(stride * shape.experts, 0xff);
    for (int32_t e = 0; e < shape.experts; ++e) {
      if (slots[e] < 0) continue;
      std::copy_n(packed.bytes.begin() + e * bytes, bytes, pool.begin() + slots[e] * stride);
    }
    return pool;
  }
  // As the router says it: ~e if hot. What goes to no expert stays out here, too.
  std::vector<int32_t> RouterIds(const MoeCase& c) const {
    std::vector<int32_t> out = c.ids;
    for (int32_t& id : out) id = id < 0 ? 0x7fffffff : slots[id] >= 0 ? ~id : id;
    return out;
  }
  HotExpertsArgs args() const {
    return {.tokens = shape.tokens,
            .top_k = shape.top_k,
            .experts = shape.experts,
            .multiprocessors = 3,
            .cuts = packed.cuts,
            .x = x.view(),
            .expert_ids = ids.view(),
            .weights = weights.view(),
            .slot_of = slot_of.view(),
            .pool = pool.view(),
            .slot_stride = stride,
            .workspace = workspace.data(),
            .y = y.data()};
  }
};

class HotExpertsTest : public GpuTest {
 protected:
  std::vector<float> Run(const MoeCase& c, const PackedExperts& packed,
                         const std::vector<int32_t>& slots) {
    const HotLayer layer(c, packed, slots);
    HotExperts(*stream_, layer.args());
    layer.workspace.Read(*stream_);
    return layer.y.Read(*stream_);
  }
};

void CheckAgainstReference(const MoeCase& c, const PackedExperts& packed,
                           const std::vector<int32_t>& slot_of, const std::vector<float>& y) {
  const auto& s = c.shape;
  std::vector<double> want(int64_t{s.tokens} * s.hidden), bound(want.size());
  for (int32_t i = 0; i < s.tokens * s.top_k; ++i) {
    if (c.ids[i] < 0 || slot_of[c.ids[i]] < 0) continue;
    const int64_t row = int64_t{i / s.top_k} * s.hidden;
    AddExpertReference(packed.decoded[c.ids[i]], &c.x[row], c.weights[i], &want[row], &bound[row]);
  }
  test::ExpectWithin(y, want, bound, s.hidden);
}

TEST_F(HotExpertsTest, ComputesTheReference) {
  uint64_t seed = 1;
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.moe.name);
    const MoeCase c(shape.moe, ++seed);
    const PackedExperts packed(c, shape.n_shards);
    const std::vector<int32_t> slot_of = SlotsOf(shape);
    CheckAgainstReference(c, packed, slot_of, Run(c, packed, slot_of));
  }
}

// The CPU's reference kernel over the checkpoint's own weights, bf16 activations. Both round h and
// nothing else, so they are as close to each other as to the exact result.
TEST_F(HotExpertsTest, AgreesWithTheCpu) {
  const MoeCase c({"cpu", 6, 128, 96, 8, 3, kUniform}, 42);
  const PackedExperts packed(c, 2);
  const std::vector<int32_t> slot_of = {5, 1, 7, 0, 2, 6, 4, 3};
  const std::vector<float> y = Run(c, packed, slot_of);
  EXPECT_EQ(test::Compare(test::Reference(c, ExpertActivations::kBf16), y), "");

  const std::vector<float> cpu = test::RunDriver(
      c, *ChooseKernel("reference", ExpertActivations::kBf16).value(), ExpertActivations::kBf16, 1);
  std::vector<double> want(cpu.begin(), cpu.end()), bound(want.size()), ignored(want.size());
  for (int32_t i = 0; i < c.shape.tokens * c.shape.top_k; ++i) {
    const int64_t row = int64_t{i / c.shape.top_k} * c.shape.hidden;
    AddExpertReference(packed.decoded[c.ids[i]], &c.x[row], c.weights[i], &ignored[row],
                       &bound[row]);
  }
  test::ExpectWithin(y, want, bound, c.shape.hidden);
}

// Tiles of 8 or 32 tokens, passes, other tokens on the same expert: the same bits.
TEST_F(HotExpertsTest, ATokenDoesNotSeeItsBatch) {
  const MoeCase all({"batch", 35, 96, 64, 4, 3, kUniform}, 3);
  const PackedExperts packed(all, 1);
  const std::vector<int32_t> slot_of = {2, -1, 0, 1};
  const std::vector<float> batch = Run(all, packed, slot_of);
  for (const int32_t t : {0, 8, 34}) {
    const std::vector<float> alone = Run(all.Select({t}), packed, slot_of);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), batch.begin() + t * all.shape.hidden)) << t;
  }
}

// A recorded layer takes what the device's memory holds when it runs: other choices, other weights
// in the slots.
TEST_F(HotExpertsTest, AGraphFollowsTheIds) {
  const MoeCaseShape shape = {"graph", 5, 64, 96, 8, 3, kUniform};
  const MoeCase first(shape, 10);
  const PackedExperts packed(first, 2);
  const HotLayer layer(first, packed, {0, -1, -1, 1, -1, -1, -1, 2});
  auto graph = Graph::Record(*stream_, [&](Stream& stream) { HotExperts(stream, layer.args()); });
  ASSERT_TRUE(graph.ok()) << graph.status();

  int32_t shift = 0;
  for (const std::vector<int32_t>& slots :
       {std::vector<int32_t>{0, -1, -1, 1, -1, -1, -1, 2},
        std::vector<int32_t>{-1, 7, 6, 5, 4, 3, 2, 1}, std::vector<int32_t>(8, -1)}) {
    MoeCase c = first;
    for (int32_t& id : c.ids) id = (id + shift) % 8;
    ++shift;
    const HotLayer next(c, packed, slots);
    stream_->CopyOnDevice(layer.pool.data(), next.pool.view(), layer.pool.size());
    stream_->CopyOnDevice(layer.ids.data(), next.ids.view(), layer.ids.size());
    stream_->CopyOnDevice(layer.slot_of.data(), next.slot_of.view(), layer.slot_of.size());
    graph->Launch(*stream_);
    CheckAgainstReference(c, packed, slots, layer.y.Read(*stream_));
  }
}

TEST_F(HotExpertsTest, InputsAreArrangedAsTheIndexSays) {
  const int32_t tokens = 3, hidden = 96;
  std::vector<bf16> values;
  for (int i = 0; i < tokens * hidden; ++i) values.push_back({static_cast<uint16_t>(i)});
  const DeviceTensor<bf16> x(values), arranged(tokens * hidden);
  ArrangeInputs(*stream_,
                {.tokens = tokens, .hidden = hidden, .x = x.view(), .arranged = arranged.data()});
  const std::vector<bf16> out = arranged.Read(*stream_);
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < hidden; ++i) {
      ASSERT_EQ(out[t * hidden + ArrangedIndex(i)].bits, t * hidden + i) << t << " " << i;
    }
  }
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
