// The dense side on a GPU (gpu_attention/dense_backend.h), beside a CPU that computes the cold
// experts. All of a step's work goes into one stream:
//
//   decode (one row per sequence): the whole step is recorded once per batch size as a graph, with
//     both ends of the mailbox in it, and launched by BeginStep(); the calls that follow only wait
//     for doorbells and ring them;
//   prefill and mixed steps: every call puts its kernels into the stream.
//
// A step that fails (a side that does not answer, a kernel's error) is given up: its waits return,
// the stream runs empty, and the next step starts afresh. If the stream does not run empty in time,
// or has an error of its own, the backend stays broken and says why.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gpu_attention/cuda/expert_streamer.h"
#include "gpu_attention/cuda/gpu_layers.h"
#include "gpu_attention/cuda/hot_pool.h"
#include "gpu_attention/cuda/hot_replacer.h"
#include "gpu_attention/cuda/mailbox.h"
#include "gpu_attention/cuda/pinned_pages.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/cuda/step_inputs.h"
#include "gpu_attention/dense_backend.h"
#include "gpu_attention/expert_device.h"

namespace tandem::TANDEM_GPU {

class GpuBackend final : public DenseBackend, private ExpertDevice {
 public:
  static absl::StatusOr<std::unique_ptr<DenseBackend>> Create(const ModelShape& shape,
                                                              const DenseBackendOptions& options,
                                                              const GpuOptions& gpu);
  ~GpuBackend() override;

  absl::Status LoadGlobals(const GlobalWeights& weights) override;
  absl::Status LoadLayer(LayerId layer, const LayerWeights& weights) override;
  absl::Status BeginStep(const StepBatch& batch) override;
  int max_parts() const override { return has_experts() ? 2 : 1; }
  int parts() const override { return static_cast<int>(parts_.size()); }
  void Attention(LayerId layer, int part) override;
  void DenseMlp(LayerId layer, int part) override;
  void Route(LayerId layer, int part) override;
  void SharedExperts(LayerId layer, int part) override;
  absl::StatusOr<RoutedTokens> Routed(LayerId layer, int part) override;
  View<float, 2> ExpertSums(int part) override { return mailbox_.Answer(part, parts_[part].rows); }
  void AddExperts(LayerId layer, int part) override;
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows) override;
  bool samples() const override { return true; }
  absl::StatusOr<std::vector<SampledToken>> Sample(std::span<const int32_t> rows,
                                                   std::span<const RowSampling> how) override;
  ExpertDevice* expert_device() override { return pool_ ? this : nullptr; }
  void CopyPage(int32_t from, int32_t to) override { layers_->CopyPage(from, to); }
  absl::StatusOr<std::unique_ptr<PageStore>> MakePageStore(int32_t places) override {
    return PinnedPages::Create(*layers_, places);
  }
  int64_t weight_bytes() const override { return layers_->weight_bytes(); }
  int64_t kv_bytes() const override { return layers_->kv_bytes(); }
  std::string description() const override;

 private:
  GpuBackend(Stream stream, const GpuOptions& options)
      : stream_(std::move(stream)), options_(options) {}
  absl::Status Reserve(const ModelShape& shape, const DeviceProperties& device,
                       const DenseBackendOptions& options);

  // ExpertDevice
  int32_t hot_capacity() const override { return pool_->capacity(); }
  bool streams() const override { return streamer_->streams(); }
  bool IsHot(LayerId layer, ExpertId expert) const override {
    return pool_->slot_of(layer, expert) >= 0;
  }
  absl::Status MakeHot(LayerId layer, ExpertId expert, const ExpertShards& bytes,
                       const ExpertId* instead_of) override;
  absl::Status ReadHot(LayerId layer, ExpertId expert,
                       const std::vector<std::span<std::byte>>& bytes) override;
  int32_t spare_places() const override { return replacer_ ? options_.spare_experts : 0; }
  absl::Status BeginReplace(const HotReplacement& what, const ExpertShards& bytes,
                            const std::vector<std::span<std::byte>>& read_back) override;
  std::vector<FinishedReplacement> FinishReplaces() override;
  bool computes_hot_itself() const override { return hot_by_kernel_; }
  absl::Status ComputeExperts(LayerId layer, int part, const RoutedTokens& routed,
                              std::span<const Work> work) override;
  absl::Status PinHostMemory(std::span<const std::byte> memory) override;

  // The pieces of a step, put into the stream now or into the graph being recorded.
  void PutRoute(LayerId layer, int part);
  void PutSharedExperts(LayerId layer, int part);
  void PutAddExperts(LayerId layer, int part);
  void PutWholeStep();
  absl::Status LaunchGraph();
  absl::Status Recover();
  // Waits for the step's end; what went wrong on the way.
  absl::Status Finish();
  // The step is lost; returns `why`.
  absl::Status GiveUp(const absl::Status& why);
  bool has_experts() const { return pool_.has_value(); }

  Stream stream_;
  const GpuOptions options_;
  std::unique_ptr<GpuLayers> layers_;
  Mailbox mailbox_;
  // Only for models with experts.
  std::optional<HotPool> pool_;
  std::unique_ptr<HotReplacer> replacer_;  // with spare places
  std::optional<ExpertStreamer> streamer_;
  std::vector<PinnedRegion> pinned_;

  StepInputs inputs_;
  std::map<StepKey, Graph> graphs_;
  uint32_t step_ = 0;
  std::vector<RowRange> parts_;
  bool in_graph_ = false;       // the running step was launched as one
  bool hot_by_kernel_ = false;  // SharedExperts() computes the hot experts
  bool own_sums_ = false;       // the part has sums of experts on the device
  absl::Status failed_;         // of the running step
  absl::Status broken_;         // for good
  std::optional<Event> drained_;

  PinnedBuffer how_;      // RowSampling [kLogitRows]
  PinnedBuffer sampled_;  // int32 ids [kLogitRows], F32 log-probabilities [kLogitRows]
  DeviceBuffer device_how_, device_sampled_;
  PinnedBuffer logits_;             // [kLogitRows, vocab]
  std::vector<float> many_logits_;  // where more rows were wanted
};

}  // namespace tandem::TANDEM_GPU
