// Drives engine/model.h without the engine: whole checkpoints in, logits at chosen positions out.
// Sequences advance together, each by up to a chunk of tokens per step, so prefill chunks and
// decoding rows of several sequences meet in one step. Cache pages are handed out scattered.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/worker_team.h"
#include "engine/checkpoint/model_config.h"
#include "engine/create_dense.h"
#include "engine/model.h"

namespace tandem::golden {

struct DrivenOptions {
  DenseDType dense_dtype = DenseDType::kBf16;
  ExpertActivations activations = ExpertActivations::kInt8x2;
  // On the emulated GPU instead of the host backend.
  std::optional<DeviceOptions> gpu = {};
};

struct DrivenSequence {
  std::vector<int32_t> ids;
  int32_t cached = 0;  // tokens of `ids` already computed
  std::set<int32_t> wanted;
  std::map<int32_t, std::vector<float>> logits;  // by position: those wanted
};

class ModelDriver {
 public:
  static absl::StatusOr<std::unique_ptr<ModelDriver>> Load(const std::string& dir,
                                                           const DrivenOptions& options);

  // Computes all tokens, `chunk` by `chunk`.
  void Run(std::span<DrivenSequence> sequences, int32_t chunk) { Greedy(sequences, chunk, 0); }
  // The same, and then `steps` greedy tokens, which are appended to `ids`; the last is not
  // computed.
  void Greedy(std::span<DrivenSequence> sequences, int32_t chunk, int32_t steps);

  Model& model() { return *model_; }
  std::function<void(Model&)> between_steps;  // may be empty
  const ModelConfig& config() const { return config_; }

 private:
  ModelDriver() = default;
  // One step: up to `chunk` tokens of every sequence that has some left; false if none has.
  bool Step(std::span<DrivenSequence> sequences, int32_t chunk);
  std::vector<int32_t> PagesOf(int64_t sequence) const;

  ModelConfig config_;
  std::unique_ptr<WorkerTeam> team_;
  std::unique_ptr<Model> model_;
};

}  // namespace tandem::golden
