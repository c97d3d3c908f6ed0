#include "gpu_attention/cuda/expert_prefill.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "gpu_attention/cuda/arrange_inputs.h"
#include "tests/gpu_attention/cuda/expert_case.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

using test::MoeCase;
using test::PackedExperts;

struct Shape {
  int32_t m, tokens, hidden, width;
  int n_shards = 1;
};
constexpr Shape kShapes[] = {
    {1, 3, 64, 32},         {7, 7, 96, 96, 3},   {8, 20, 64, 64, 2}, {9, 9, 64, 96},
    {33, 40, 96, 160, 3},   {128, 130, 64, 32},  {129, 129, 64, 32}, {130, 200, 96, 96, 2},
    {257, 300, 96, 160, 3}, {150, 150, 288, 64}, {1, 2, 7168, 32},   {2, 2, 64, 1056, 2},
};

// `m` distinct tokens in some order.
std::vector<int32_t> ChooseRows(int32_t m, int32_t tokens, uint32_t seed) {
  std::vector<int32_t> rows(tokens);
  std::iota(rows.begin(), rows.end(), 0);
  std::mt19937 random(seed);
  std::shuffle(rows.begin(), rows.end(), random);
  rows.resize(m);
  return rows;
}

class ExpertPrefillTest : public GpuTest {
 protected:
  // Adds the expert's rows to y.
  void Run(const MoeCase& c, const PackedExperts& packed, int32_t expert,
           const std::vector<int32_t>& rows, const std::vector<float>& weights,
           const DeviceTensor<float>& y) {
    const auto m = static_cast<int32_t>(rows.size());
    const int64_t bytes = packed.layout.expert_bytes();
    const DeviceTensor<uint8_t> device_expert(std::vector<uint8_t>(
        packed.bytes.begin() + expert * bytes, packed.bytes.begin() + (expert + 1) * bytes));
    const DeviceTensor<bf16> x(c.x), arranged(static_cast<int64_t>(c.x.size()));
    const DeviceTensor<bf16> h(int64_t{m} * c.shape.intermediate);
    const DeviceTensor<int32_t> device_rows(rows);
    const DeviceTensor<float> device_weights(weights);
    ArrangeInputs(*stream_, {.tokens = c.shape.tokens,
                             .hidden = c.shape.hidden,
                             .x = x.view(),
                             .arranged = arranged.data()});
    ExpertPrefill(*stream_, {.m = m,
                             .cuts = packed.cuts,
                             .expert = device_expert.view(),
                             .rows = device_rows.view(),
                             .weights = device_weights.view(),
                             .x = arranged.view(),
                             .h = h.data(),
                             .y = y.data()});
    arranged.Read(*stream_);
    h.Read(*stream_);
  }
};

TEST_F(ExpertPrefillTest, AddsTheReference) {
  uint32_t seed = 1;
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(testing::Message()
                 << shape.m << " of " << shape.tokens << " tokens, " << shape.hidden << " x "
                 << shape.width << ", " << shape.n_shards << " shards");
    const MoeCase c({"", shape.tokens, shape.hidden, shape.width, 1, 1}, ++seed);
    const PackedExperts packed(c, shape.n_shards);
    const std::vector<int32_t> rows = ChooseRows(shape.m, shape.tokens, seed);
    const std::vector<float> weights = RandomFloats(shape.m, seed);
    const std::vector<float> before = RandomFloats(int64_t{shape.tokens} * shape.hidden, seed + 1);
    const DeviceTensor<float> y(before);
    Run(c, packed, 0, rows, weights, y);

    std::vector<double> want(before.begin(), before.end()), bound(want.size());
    for (int32_t i = 0; i < shape.m; ++i) {
      const int64_t row = int64_t{rows[i]} * shape.hidden;
      for (int32_t o = 0; o < shape.hidden; ++o) bound[row + o] = 1e-7 * std::fabs(want[row + o]);
      AddExpertReference(packed.decoded[0], &c.x[row], weights[i], &want[row], &bound[row]);
    }
    test::ExpectWithin(y.Read(*stream_), want, bound, shape.hidden);
  }
}

// All experts of a layer one after the other, as a prefill runs them.
TEST_F(ExpertPrefillTest, AgreesWithTheCpu) {
  const MoeCase c({"layer", 240, 128, 96, 3, 2}, 42);  // about 160 rows each
  const PackedExperts packed(c, 2);
  const auto& s = c.shape;
  const DeviceTensor<float> y(std::vector<float>(int64_t{s.tokens} * s.hidden));
  for (int32_t e = 0; e < s.experts; ++e) {
    std::vector<int32_t> rows;
    std::vector<float> weights;
    for (int32_t i = 0; i < s.tokens * s.top_k; ++i) {
      if (c.ids[i] == e) rows.push_back(i / s.top_k), weights.push_back(c.weights[i]);
    }
    Run(c, packed, e, rows, weights, y);
  }
  EXPECT_EQ(test::Compare(test::Reference(c, ExpertActivations::kBf16), y.Read(*stream_)), "");
}

TEST_F(ExpertPrefillTest, NoRowsDoNothing) {
  const MoeCase c({"none", 1, 64, 32, 1, 1}, 1);
  const PackedExperts packed(c, 1);
  const DeviceTensor<float> y(c.shape.hidden);
  Run(c, packed, 0, {}, {}, y);
  for (const float value : y.Read(*stream_)) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
