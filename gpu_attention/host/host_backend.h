// The dense side on the CPU (gpu_attention/dense_backend.h). The residual stream and all
// activations are F32; weights BF16 or INT8; the latent cache BF16. docs/numerics.md says what is
// rounded where.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gpu_attention/dense_backend.h"
#include "gpu_attention/host/activations.h"
#include "gpu_attention/host/host_context.h"
#include "gpu_attention/host/latent_cache.h"
#include "gpu_attention/host/mla.h"
#include "gpu_attention/host/swiglu.h"

namespace tandem {

class HostBackend final : public DenseBackend {
 public:
  static absl::StatusOr<std::unique_ptr<HostBackend>> Create(const ModelShape& shape,
                                                             const DenseBackendOptions& options,
                                                             WorkerTeam& team);

  absl::Status LoadGlobals(const GlobalWeights& weights) override;
  absl::Status LoadLayer(LayerId layer, const LayerWeights& weights) override;
  absl::Status BeginStep(const StepBatch& batch) override;
  void Attention(LayerId layer, int part) override;
  void DenseMlp(LayerId layer, int part) override;
  void Route(LayerId layer, int part) override;
  void SharedExperts(LayerId layer, int part) override;
  absl::StatusOr<RoutedTokens> Routed(LayerId layer, int part) override;
  View<float, 2> ExpertSums(int part) override {
    return expert_sums_.Rows(step_.tokens, context_.shape.hidden);
  }
  void AddExperts(LayerId layer, int part) override;
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows) override;
  void CopyPage(int32_t from, int32_t to) override { cache_.CopyPage(from, to); }
  int64_t weight_bytes() const override;
  int64_t kv_bytes() const override { return cache_.size_bytes(); }
  std::string description() const override;

 private:
  struct Layer {
    MlaWeights attention;
    std::vector<float> post_attention_norm;
    SwiGluWeights mlp;    // the dense MLP or the shared experts
    PackedMatrix router;  // [experts, hidden], exact: BF16 if the values are, else F32
    std::vector<float> router_bias;
  };

  explicit HostBackend(HostContext context) : context_(std::move(context)) {}
  absl::Status Reserve(const DenseBackendOptions& options);
  absl::Status LoadRouter(const RouterWeights& weights, Layer& layer);
  // x = norm(h) * weight for the step's rows.
  void NormRows(const std::vector<float>& weight);
  View<float, 2> h() const { return h_.Rows(step_.tokens, context_.shape.hidden); }
  View<float, 2> x() const { return x_.Rows(step_.tokens, context_.shape.hidden); }

  HostContext context_;
  std::vector<float> rope_frequencies_;
  std::vector<Layer> layers_;
  NumaBuffer embedding_;  // [vocab, hidden] BF16
  std::vector<float> final_norm_;
  PackedMatrix head_;

  LatentCache cache_;
  HostStep step_;
  RowBuffer h_, x_, expert_sums_, router_logits_, logits_;
  ActivationBuffer activations_;
  Mla mla_;
  SwiGlu swiglu_;
  // The last Route(): what RoutedTokens shows.
  NumaBuffer routed_hidden_;           // [max_tokens, hidden] BF16
  std::vector<int32_t> expert_ids_;    // [max_tokens, top_k]
  std::vector<float> expert_weights_;  // [max_tokens, top_k]
};

}  // namespace tandem
