// A tiny random model, a plain double-precision computation of it, and a driver for DenseBackend.
#pragma once

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

// Feeds sequences through a backend in any cut, collecting the logits of every position.
class Driver {
 public:
  Driver(const SmallModel& model, const DenseBackendOptions& options, WorkerTeam& team,
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

}  // namespace tandem
