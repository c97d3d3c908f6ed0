// The forward pass: the dense side and the routed experts, layer after layer.
//
// Owned by the engine; one thread calls it. It knows the two sides by their interfaces only.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/expert_split.h"
#include "engine/hot_set.h"
#include "engine/layer_clock.h"
#include "engine/micro_batches.h"
#include "gpu_attention/dense_backend.h"
#include "gpu_attention/step_batch.h"
#include "placement/routing_observer.h"

namespace tandem {

// How the two sides share work. Without a GPU all of it is the CPU's.
struct ModelOptions {
  MicroBatches micro_batches = MicroBatches::kAuto;
  ExpertSplitOptions split;
  bool hot_experts_leave_ram = false;
};

class Model {
 public:
  // Both sides hold their weights already, and room for `max_rows` rows of one step. `experts` is
  // null for a model without routed experts.
  static std::unique_ptr<Model> Create(const ModelShape& shape, int32_t max_rows,
                                       std::unique_ptr<DenseBackend> dense,
                                       std::unique_ptr<CpuExperts> experts,
                                       const ModelOptions& options = {});

  // Computes one step up to the last layer and caches its tokens. The spans of `batch` must stay
  // valid until the last Logits() of the step. REQUIRES: at most max_rows rows. Errors: DATA_LOSS
  // when an expert that the step needs turns out to be damaged, UNAVAILABLE when the device fails;
  // then nothing was computed that may be used.
  absl::Status Forward(const StepBatch& batch);

  // Logits of some rows of the last Forward(); valid until the next call. [rows, vocab]. Errors:
  // UNAVAILABLE when the device failed.
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows);

  // Tokens of such rows, chosen by the backend, if it samples(); else UNIMPLEMENTED.
  bool samples() const { return dense_->samples(); }
  absl::StatusOr<std::vector<SampledToken>> Sample(std::span<const int32_t> rows,
                                                   std::span<const RowSampling> how);

  // Between steps: a cold expert takes the place of a hot one. Errors: INVALID_ARGUMENT, also
  // without a device that holds experts.
  absl::Status ReplaceHotExpert(LayerId layer, ExpertId out, ExpertId in);

  // The same without waiting, as HotSet. REQUIRES: a device that holds experts.
  absl::Status BeginReplace(const HotReplacement& what) { return hot_set_->BeginReplace(what); }
  std::vector<FinishedReplacement> FinishReplaces() { return hot_set_->FinishReplaces(); }

  bool holds_hot_experts() const { return hot_set_.has_value(); }

  // Between steps: copies page `from` of the latent cache over page `to`, in all layers.
  absl::StatusOr<std::unique_ptr<PageStore>> MakePageStore(int32_t places) {
    return dense_->MakePageStore(places);
  }
  void CopyPage(int32_t from, int32_t to) { dense_->CopyPage(from, to); }

  // Told what the router decided in every step that EndStep() follows; null: nobody. The caller
  // begins and ends the steps. Must outlive its use.
  void set_observer(RoutingObserver* observer) { observer_ = observer; }

  // Experts sent to the device so far, each time counted.
  int64_t streamed_experts() const { return split_ ? split_->streamed_experts() : 0; }

  LayerTimes layer_times() const { return layer_clock_.times(); }  // any thread

  const ModelShape& shape() const { return shape_; }
  const DenseBackend& dense() const { return *dense_; }
  const CpuExperts* experts() const { return experts_.get(); }

 private:
  Model(const ModelShape& shape, const ModelOptions& options)
      : shape_(shape), tuner_(options.micro_batches), layer_clock_(shape.layers) {}
  // A step in one or two parts, as is faster.
  absl::Status DecodeInParts(const StepBatch& batch);
  absl::Status Layers(const StepBatch& batch);
  // A layer's part up to where the experts are needed, and from there on.
  void Start(LayerId layer, int part);
  absl::Status Finish(LayerId layer, int part);

  ModelShape shape_;
  int32_t max_rows_ = 0;
  std::unique_ptr<CpuExperts> experts_;
  std::unique_ptr<DenseBackend> dense_;  // may have page-locked the experts' memory: goes first
  std::optional<HotSet> hot_set_;        // with a device that holds experts
  std::optional<ExpertSplit> split_;
  MicroBatchTuner tuner_;
  LayerClock layer_clock_;
  RoutingObserver* observer_ = nullptr;
  int32_t second_part_row_ = 0;  // of the running step
};

}  // namespace tandem
