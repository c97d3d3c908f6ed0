#include "gpu_attention/cuda/sampling.h"
#include "gpu_attention/cuda/sampling_reference.h"

#include <algorithm>
#include <cmath>

#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

class SamplingTest : public GpuTest {
 protected:
  // One row of logits, many ways to sample it.
  void Check(const std::vector<float>& logits, const std::vector<RowSampling>& how) {
    const auto vocab = static_cast<int32_t>(logits.size());
    const auto rows = static_cast<int32_t>(how.size());
    const int64_t stride = vocab + 3;
    std::vector<float> all(rows * stride, NAN);
    for (int32_t r = 0; r < rows; ++r)
      std::copy(logits.begin(), logits.end(), all.begin() + r * stride);
    const DeviceTensor<float> device_logits(all), logprobs(rows);
    const DeviceTensor<RowSampling> device_how(how);
    const DeviceTensor<int32_t> ids(rows);
    SampleTokens(*stream_, {.rows = rows,
                            .vocab = vocab,
                            .logits = device_logits.view(),
                            .logits_row = stride,
                            .how = device_how.view(),
                            .ids = ids.data(),
                            .logprobs = logprobs.data()});
    const std::vector<int32_t> got = ids.Read(*stream_);
    const std::vector<float> got_logprobs = logprobs.Read(*stream_);
    for (int32_t r = 0; r < rows; ++r) {
      const SampledToken want = SampleReference(logits.data(), vocab, how[r]);
      EXPECT_EQ(got[r], want.id) << "temperature " << how[r].temperature << ", top_k "
                                 << how[r].top_k << ", top_p " << how[r].top_p << ", min_p "
                                 << how[r].min_p << ", uniform " << how[r].uniform;
      EXPECT_NEAR(got_logprobs[r], want.logprob, 2e-5f);
    }
  }
};

// Every kind of cut and their mixtures, draws over the whole of [0, 1).
std::vector<RowSampling> ManyWays(int32_t draws) {
  std::vector<RowSampling> all;
  const RowSampling ways[] = {
      {.temperature = 0},
      {.temperature = 1},
      {.temperature = 0.3f},
      {.temperature = 1, .top_k = 1},
      {.temperature = 2, .top_k = 7},
      {.temperature = 1, .top_p = 0.9f},
      {.temperature = 1, .top_p = 1e-6f},
      {.temperature = 0.8f, .min_p = 0.05f},
      {.temperature = 1, .min_p = 1},
      {.temperature = 1.5f, .top_k = 40, .top_p = 0.8f, .min_p = 0.01f},
      {.temperature = 1, .top_k = 1000000, .top_p = 0.99f, .min_p = 0.3f},
  };
  for (RowSampling way : ways) {
    for (int32_t i = 0; i < draws; ++i) {
      way.uniform = (i + 0.37) / draws;
      all.push_back(way);
    }
    way.uniform = 0.999999;
    all.push_back(way);
  }
  return all;
}

TEST_F(SamplingTest, AgreesWithTheReference) {
  for (int32_t vocab : {1, 2, 31, 101, 300, 1000}) {
    SCOPED_TRACE(testing::Message() << "vocabulary " << vocab);
    Check(RandomFloats(vocab, 1, 3.0f), ManyWays(3));
  }
}

// Coarse logits, so that cuts fall between equal tokens; zeros of both signs are equal.
TEST_F(SamplingTest, TiesGoToLowerIds) {
  std::vector<float> logits = RandomFloats(200, 2, 1.2f);
  for (float& x : logits) x = std::round(x);
  logits[3] = 0.0f, logits[4] = -0.0f;
  Check(logits, ManyWays(4));
  Check(std::vector<float>(100, -2.5f), ManyWays(3));
}

// More tokens than the list holds: within reach of it, and nearly flat.
TEST_F(SamplingTest, LargeVocabularies) {
  const std::vector<float> peaked = RandomFloats(9001, 3, 4.0f);
  Check(peaked, {{.uniform = 0.5, .temperature = 1},
                 {.uniform = 0.9, .temperature = 1, .top_k = 50, .top_p = 0.9f},
                 {.uniform = 0.3, .temperature = 1, .top_k = 5000},
                 {.uniform = 0.7, .temperature = 0.7f, .min_p = 0.02f}});
  Check(RandomFloats(9001, 4, 0.1f), {{.uniform = 0.2, .temperature = 1, .top_p = 0.9f},
                                      {.uniform = 0.6, .temperature = 1, .top_k = 6000}});
}

TEST_F(SamplingTest, LogitsThatAreNotFinite) {
  std::vector<float> logits = RandomFloats(100, 5);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    logits[77] = bad;
    Check(logits, {{.temperature = 0}, {.uniform = 0.5, .temperature = 1, .top_p = 0.5f}});
  }
}

TEST_F(SamplingTest, GreedyNeedsNoParameters) {
  const std::vector<float> logits = {1, 5, 2, 5, -3};
  const DeviceTensor<float> device_logits(logits), logprobs(1);
  const DeviceTensor<int32_t> ids(1);
  SampleTokens(*stream_, {.rows = 1,
                          .vocab = 5,
                          .logits = device_logits.view(),
                          .ids = ids.data(),
                          .logprobs = logprobs.data()});
  EXPECT_EQ(ids.Read(*stream_)[0], 1);
  logprobs.Read(*stream_);
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
