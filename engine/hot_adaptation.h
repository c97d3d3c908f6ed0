// Keeps the hot experts those that are used: asks an ExpertAdapter for swaps, and carries them out
// beside the steps. A token never waits for one: bytes are copied while steps run, and a swap takes
// effect between two steps once its copy is complete.
//
// Engine's thread only.
#pragma once

#include <deque>
#include <memory>

#include "engine/engine.h"
#include "engine/hot_set.h"
#include "engine/model.h"
#include "placement/expert_adapter.h"

namespace tandem {

class HotAdaptation {
 public:
  // `hot`: what lies on the device now. `model` must outlive it. REQUIRES: mode is not kOff; with
  // kOn the model's device has spare places.
  HotAdaptation(AdaptMode mode, const ModelIdentity& identity, const HotExperts& hot,
                const AdapterOptions& options, Model& model);

  // To be told of every step.
  const std::shared_ptr<ExpertAdapter>& adapter() const { return adapter_; }

  // What is copied takes effect; what pays is proposed, and copying goes on.
  void BetweenSteps();
  // Somebody else has replaced an expert.
  void NoteReplaced(LayerId layer, ExpertId out, ExpertId in);

  const AdaptationStats& stats() const { return stats_; }

 private:
  void Finish();
  void Suggest(const std::vector<ExpertSwap>& swaps);
  void BeginWaiting();
  void Drop(const ExpertSwap& swap, const absl::Status& why);

  const AdaptMode mode_;
  Model& model_;
  const std::shared_ptr<ExpertAdapter> adapter_;
  std::deque<ExpertSwap> waiting_;     // for a spare place
  std::vector<ExpertSwap> under_way_;  // being copied
  AdaptationStats stats_;
};

}  // namespace tandem
