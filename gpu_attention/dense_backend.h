// Everything that is not a cold expert: embedding, attention over the paged latent cache, router,
// shared expert, dense MLP, head. host/ computes it on the CPU; cuda/ on an NVIDIA GPU.
//
// Order of a step, called by one thread:
//   BeginStep;  per layer and part: Attention, then DenseMlp, or
//     Route + SharedExperts + Routed, the experts' sums into ExpertSums(), AddExperts;
//   then Logits, as often as wanted.
// A part is a range of the step's rows: a backend that works beside the CPU may take them in two,
// so that its work on one overlaps the experts of the other. A part's calls come in layer order;
// between them may come calls for the other part. A backend may do what a call asks for earlier (a
// graph of the whole step) or later (a queue), but Routed() and Logits() wait for what they return.
//
// host/: same request, same bits: what a row becomes depends on its own slice alone (its tokens,
// its pages, its length), never on how many other rows share the step or a call of Logits(). cuda/
// only promises the bound of docs/numerics.md. Loading: LoadGlobals and LoadLayer copy or convert
// what they are given; the views need not outlive the call.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "gpu_attention/dense_weights.h"
#include "gpu_attention/page_store.h"
#include "gpu_attention/row_sampling.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

// How the dense side's matrices are held.
enum class DenseDType {
  kBf16,  // as published
  kInt8,  // weight-only: INT8 with one scale per row and group of inputs, half the bytes per token
};

struct DenseBackendOptions {
  DenseDType dtype = DenseDType::kBf16;
  int32_t max_tokens = 512;  // most rows of one step
  int64_t kv_pages = 0;      // pages of latent cache to hold, for all layers
  std::string kernel = "";   // "" = best for this CPU, else a kernel name, or an error
};

// For a backend on a GPU.
struct GpuOptions {
  int32_t device = 0;
  bool graphs = true;               // record decode steps and launch them as a whole
  int32_t hot_experts = 0;          // places for experts on the device, all layers together
  int32_t spare_experts = 0;        // further places, for those on their way in
  int32_t expert_shards = 1;        // how the CPU cuts its experts (CpuExperts::n_shards())
  int64_t stream_buffer_bytes = 0;  // of device memory, to stream experts through; 0: never
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);  // of one side waiting for the other
};

class ExpertDevice;

class DenseBackend {
 public:
  virtual ~DenseBackend() = default;

  virtual absl::Status LoadGlobals(const GlobalWeights& weights) = 0;
  virtual absl::Status LoadLayer(LayerId layer, const LayerWeights& weights) = 0;

  // Embeds the tokens. REQUIRES: token ids in [0, vocab), pages long enough, tokens <= max_tokens.
  // The spans of `batch` must stay valid until the step ends. Errors: UNAVAILABLE when the device
  // is broken.
  virtual absl::Status BeginStep(const StepBatch& batch) = 0;
  // Most parts of a step.
  virtual int max_parts() const { return 1; }
  // Into how many parts the running step's rows are cut: 2 if the batch asks for that and the
  // backend does it, else 1.
  virtual int parts() const { return 1; }
  // h += attention(norm(h)); writes the new latents into the pages.
  virtual void Attention(LayerId layer, int part) = 0;
  // h += mlp(norm(h)), for a dense layer.
  virtual void DenseMlp(LayerId layer, int part) = 0;
  // Norm, router, top-k.
  virtual void Route(LayerId layer, int part) = 0;
  // h += shared(x), x the normed rows of the last Route(). Experts that lie on the device, too.
  virtual void SharedExperts(LayerId layer, int part) = 0;
  // What Route() decided, once it has; valid until the part's next Route(). An expert that lies on
  // the device appears as ~id. Errors: UNAVAILABLE naming layer and side when the device does not
  // answer in time.
  virtual absl::StatusOr<RoutedTokens> Routed(LayerId layer, int part) = 0;
  // Where the routed experts' answer goes, before AddExperts(). [tokens of the part, hidden]
  virtual View<float, 2> ExpertSums(int part) = 0;
  // h += the sums.
  virtual void AddExperts(LayerId layer, int part) = 0;
  // Final norm and head for some rows of the batch. Valid until the next call. [rows, vocab].
  // Errors: whatever went wrong on the device since BeginStep().
  virtual absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows) = 0;

  // Whether Sample() is there. Logits are then worth asking for only where more than a token is
  // wanted of them.
  virtual bool samples() const { return false; }
  // Like Logits(), but only the tokens leave the device. how [rows]. Errors as Logits().
  virtual absl::StatusOr<std::vector<SampledToken>> Sample(std::span<const int32_t> /*rows*/,
                                                           std::span<const RowSampling> /*how*/) {
    return absl::UnimplementedError("this backend does not sample");
  }

  // What routed experts it can take over; null: none.
  virtual ExpertDevice* expert_device() { return nullptr; }

  // Copies page `from` over page `to` in all layers (copy-on-write of a shared prefix).
  virtual void CopyPage(int32_t from, int32_t to) = 0;

  // Room in RAM for so many pages (page_store.h). Null: the cache lies in RAM itself. Errors:
  // RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::unique_ptr<PageStore>> MakePageStore(int32_t /*places*/) {
    return nullptr;
  }

  virtual int64_t weight_bytes() const = 0;
  virtual int64_t kv_bytes() const = 0;
  virtual std::string description() const = 0;  // e.g. "host avx2, bf16"
};

// The CPU implementation. Errors: INVALID_ARGUMENT for a shape or kernel it cannot serve,
// RESOURCE_EXHAUSTED for memory. `team` must outlive the backend.
absl::StatusOr<std::unique_ptr<DenseBackend>> CreateHostBackend(const ModelShape& shape,
                                                                const DenseBackendOptions& options,
                                                                WorkerTeam& team);

// On an NVIDIA GPU. BF16 weights only. Errors: UNAVAILABLE without a GPU or in a build without
// CUDA, INVALID_ARGUMENT, RESOURCE_EXHAUSTED naming what did not fit into the device's memory.
absl::StatusOr<std::unique_ptr<DenseBackend>> CreateCudaBackend(const ModelShape& shape,
                                                                const DenseBackendOptions& options,
                                                                const GpuOptions& gpu);
// The same sources under emulation on the CPU: for tests, thousands of times slower.
absl::StatusOr<std::unique_ptr<DenseBackend>> CreateEmulatedBackend(
    const ModelShape& shape, const DenseBackendOptions& options, const GpuOptions& gpu);

}  // namespace tandem
