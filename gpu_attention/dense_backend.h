// Everything that is not a cold expert: embedding, attention over the paged latent cache, router,
// shared expert, dense MLP, head. host/ computes it on the CPU; cuda/ on an NVIDIA GPU.
//
// Call order of a step:  BeginStep;  per layer: Attention, then DenseMlp, or Route +
// SharedExperts + AddExperts;  then Logits, as often as wanted. One thread calls it.
//
// Same request, same bits: what a row becomes depends on its own slice alone (its tokens, its
// pages, its length), never on how many other rows share the step or a call of Logits(). Loading:
// LoadGlobals and LoadLayer copy or convert what they are given; the views need not outlive the
// call.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "gpu_attention/dense_weights.h"
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

class DenseBackend {
 public:
  virtual ~DenseBackend() = default;

  virtual absl::Status LoadGlobals(const GlobalWeights& weights) = 0;
  virtual absl::Status LoadLayer(LayerId layer, const LayerWeights& weights) = 0;

  // Embeds the tokens. REQUIRES: token ids in [0, vocab), pages long enough, tokens <= max_tokens.
  // The spans of `batch` must stay valid until the step ends.
  virtual void BeginStep(const StepBatch& batch) = 0;
  // h += attention(norm(h)); writes the new latents into the pages.
  virtual void Attention(LayerId layer) = 0;
  // h += mlp(norm(h)), for a dense layer.
  virtual void DenseMlp(LayerId layer) = 0;
  // Norm, router, top-k. The views stay valid until the next call of Route().
  virtual RoutedTokens Route(LayerId layer) = 0;
  // h += shared(x), x the normed rows of the last Route().
  virtual void SharedExperts(LayerId layer) = 0;
  // h += y: the routed experts' answer. y [tokens, hidden]
  virtual void AddExperts(LayerId layer, View<const float, 2> y) = 0;
  // Final norm and head for some rows of the batch. Valid until the next step. [rows, vocab]
  virtual View<const float, 2> Logits(std::span<const int32_t> rows) = 0;

  // Copies page `from` over page `to` in all layers (copy-on-write of a shared prefix).
  virtual void CopyPage(int32_t from, int32_t to) = 0;

  virtual int64_t weight_bytes() const = 0;
  virtual int64_t kv_bytes() const = 0;
  virtual std::string description() const = 0;  // e.g. "host avx2, bf16"
};

// The CPU implementation. Errors: INVALID_ARGUMENT for a shape or kernel it cannot serve,
// RESOURCE_EXHAUSTED for memory. `team` must outlive the backend.
absl::StatusOr<std::unique_ptr<DenseBackend>> CreateHostBackend(const ModelShape& shape,
                                                                const DenseBackendOptions& options,
                                                                WorkerTeam& team);

}  // namespace tandem
