// A tiny random model, a plain double-precision computation of it, and a driver for DenseBackend.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpu_attention/dense_backend.h"

namespace tandem {

// Owns the tensors that LayerWeights and GlobalWeights show.
struct SmallModel {
  SmallModel(const ModelShape& shape, uint32_t seed);
  SmallModel(const SmallModel&) = delete;

  ModelShape shape;
  GlobalWeights globals;
  std::vector<LayerWeights> layers;

 private:
  MatrixView Matrix(int64_t rows, int64_t cols, float deviation);
  VectorView Norm(int64_t size);
  MlpWeights Mlp(int32_t intermediate);
  uint32_t seed_;
  std::vector<std::unique_ptr<std::vector<bf16>>> storage_;
  std::vector<std::unique_ptr<std::vector<float>>> float_storage_;
};

// Odd sizes throughout: 3 heads, plain q_proj, ranks that fill no panel, no YaRN.
ModelShape OddShape();
// One head, low-rank queries, YaRN, expert groups, two shared experts.
ModelShape OneHeadShape();

// What stands in for the routed experts: y = sum_k weight_k * (0.3 + 0.1 expert_k) * hidden.
void FakeExperts(const RoutedTokens& in, View<float, 2> y);

// All layers of a step, with FakeExperts().
void RunStep(const ModelShape& shape, DenseBackend& backend, const StepBatch& batch);

// Logits of every position of `ids`, in double precision by the naive form of attention; rounds to
// BF16 what the backend contract rounds (cached latents, rows handed to the experts).
// [positions][vocab]
std::vector<std::vector<double>> ReferenceLogits(const SmallModel& model,
                                                 const std::vector<int32_t>& ids);

// One sequence's share of a step.
struct Share {
  int sequence;
  int32_t tokens;
};

inline constexpr int64_t kDriverPages = 64;

// Feeds sequences through a backend in any cut, collecting the logits of every position.
class Driver {
 public:
  Driver(const SmallModel& model, const DenseBackendOptions& options, WorkerTeam& team,
         std::vector<std::vector<int32_t>> sequences);
  // Any backend, with kDriverPages pages and room for the largest step.
  Driver(const SmallModel& model, std::unique_ptr<DenseBackend> backend,
         std::vector<std::vector<int32_t>> sequences);
  void Step(const std::vector<Share>& shares);
  // All of one sequence, `chunk` tokens a step.
  void RunAlone(int sequence, int32_t chunk);
  // [position][vocab] so far
  const std::vector<std::vector<float>>& logits(int sequence) const { return logits_[sequence]; }
  DenseBackend& backend() { return *backend_; }
  std::vector<int32_t>& pages(int sequence) { return pages_[sequence]; }

 private:
  const SmallModel& model_;
  std::unique_ptr<DenseBackend> backend_;
  std::vector<std::vector<int32_t>> sequences_, pages_;
  std::vector<int32_t> done_;
  std::vector<std::vector<std::vector<float>>> logits_;
};

std::vector<int32_t> RandomIds(const ModelShape& shape, int32_t n, uint32_t seed);

// Three sequences, longer than a page, as long as two and as one and a bit.
std::vector<std::vector<int32_t>> ThreeSequences(const ModelShape& shape);
// Runs them: prompts in chunks that end before, at and behind a page's end, beside decoding ones.
void RunMixed(Driver& driver);

// Largest difference of logits, relative to the spread of the reference's logits.
template <class A, class B>
double WorstDifference(const std::vector<A>& got, const std::vector<B>& want) {
  TANDEM_CHECK(got.size() == want.size(), "as many positions");
  double worst = 0, low = 1e30, high = -1e30;
  for (size_t t = 0; t < want.size(); ++t) {
    for (size_t i = 0; i < want[t].size(); ++i) {
      const double difference = std::fabs(double{got[t][i]} - want[t][i]);
      worst = std::isfinite(difference) ? std::max(worst, difference) : INFINITY;
      low = std::min<double>(low, want[t][i]);
      high = std::max<double>(high, want[t][i]);
    }
  }
  return worst / (high - low);
}

}  // namespace tandem
