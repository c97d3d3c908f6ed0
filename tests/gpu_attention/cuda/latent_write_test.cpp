#include "gpu_attention/cuda/latent_write.h"

#include "gpu_attention/cuda/latent_write_reference.h"
#include "gpu_attention/step_batch.h"
#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/worst_error.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t latent, rope;
  int64_t x_row;  // 0: contiguous
  float eps;
};
constexpr Shape kShapes[] = {{32, 32, 0, 1e-6f}, {48, 16, 0, 1e-5f},   {64, 8, 112, 0.2f},
                             {40, 16, 0, 1e-5f}, {516, 4, 524, 1e-5f}, {512, 64, 2112, 1e-5f},
                             {96, 16, 0, 1e-6f}, {1024, 300, 0, 1e-5f}};

class LatentWriteTest : public GpuTest {};

TEST_F(LatentWriteTest, FillsItsSlotsOnly) {
  constexpr int32_t kPages = 3;
  // The cache's ends, a page's ends, and a token that is not written.
  const std::vector<int32_t> slots = {kPages * kPageTokens - 1, 0, 63, -1, 64, 100};
  const auto tokens = static_cast<int32_t>(slots.size());
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.latent << " + " << s.rope);
    const int64_t dim = s.latent + s.rope, x_row = s.x_row == 0 ? dim : s.x_row;
    const std::vector<float> x = RandomFloats(tokens * x_row, 1, 2.0f);
    const std::vector<float> weight = RandomFloats(s.latent, 2);
    const std::vector<float> cos = RandomFloats(tokens * s.rope / 2, 3);
    const std::vector<float> sin = RandomFloats(tokens * s.rope / 2, 4);
    const DeviceTensor<float> device_x(x), device_weight(weight), device_cos(cos), device_sin(sin);
    const DeviceTensor<int32_t> device_slots(slots);
    const DeviceTensor<bf16> cache(kPages * kPageTokens * dim);
    LatentWrite(*stream_, {.tokens = tokens,
                           .latent = s.latent,
                           .rope = s.rope,
                           .eps = s.eps,
                           .x = device_x.view(),
                           .x_row = s.x_row,
                           .weight = device_weight.view(),
                           .cos = device_cos.view(),
                           .sin = device_sin.view(),
                           .slots = device_slots.view(),
                           .cache = cache.data()});
    const std::vector<bf16> got = cache.Read(*stream_);
    std::vector<bool> written(kPages * kPageTokens);
    for (int32_t t = 0; t < tokens; ++t) {
      if (slots[t] < 0) continue;
      written[slots[t]] = true;
      std::vector<bf16> want(dim);
      LatentWriteReference(s.latent, s.rope, s.eps, x.data() + t * x_row, weight.data(),
                           cos.data() + t * s.rope / 2, sin.data() + t * s.rope / 2, want.data());
      const auto first = got.begin() + slots[t] * dim;
      EXPECT_EQ(WorstError(ToFloats({first, first + dim}), ToFloats(want), kBf16Step, 1e-5f), "");
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (!written[i / dim]) {
        ASSERT_EQ(got[i].bits, 0xffff) << "written at " << i;
      }
    }
  }
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
