// The engine's sampler and what the GPU's is tested against follow the same rules.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/sampler.h"
#include "gpu_attention/cuda/sampling_reference.h"

namespace tandem {
namespace {

TEST(DeviceSampling, SameRulesAsTheEngine) {
  constexpr int32_t kVocab = 700;
  Sampler sampler(kVocab);
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 2.5f);
  const RowSampling ways[] = {
      {.temperature = 0},
      {.temperature = 1},
      {.temperature = 0.5f, .top_k = 9},
      {.temperature = 1, .top_p = 0.9f},
      {.temperature = 0.9f, .min_p = 0.1f},
      {.temperature = 1.7f, .top_k = 60, .top_p = 0.7f, .min_p = 0.02f},
  };
  for (uint64_t step = 0; step < 200; ++step) {
    std::vector<float> logits(kVocab);
    for (float& x : logits) x = normal(random);
    if (step % 2 == 0)  // ties
      for (float& x : logits) x = std::round(x);
    for (RowSampling how : ways) {
      const SamplingParams params = {.temperature = how.temperature,
                                     .top_p = how.top_p,
                                     .top_k = how.top_k,
                                     .min_p = how.min_p,
                                     .top_logprobs = 0};
      how.uniform = UniformAt(7, step);
      const auto want = sampler.Sample(logits, params, TokenHistory(params, {}), 7, step);
      ASSERT_TRUE(want.ok()) << want.status();
      const SampledToken got = SampleReference(logits.data(), kVocab, how);
      EXPECT_EQ(got.id, want->id) << "step " << step << ", temperature " << how.temperature
                                  << ", top_k " << how.top_k << ", top_p " << how.top_p
                                  << ", min_p " << how.min_p;
      EXPECT_NEAR(got.logprob, want->logprob, 1e-5f);
    }
  }
}

}  // namespace
}  // namespace tandem
