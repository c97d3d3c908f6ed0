// The gated MLP of the dense layers and the shared experts: y = down(silu(gate x) * (up x)).
#pragma once

#include "core/status.h"
#include "gpu_attention/dense_weights.h"
#include "gpu_attention/host/activations.h"
#include "gpu_attention/host/host_context.h"
#include "gpu_attention/host/packed_matrix.h"
#include "gpu_attention/host/rows.h"

namespace tandem {

struct SwiGluWeights {
  int32_t intermediate = 0;
  PackedMatrix gate_up;  // [2 * intermediate, hidden], gate first
  PackedMatrix down;     // [hidden, intermediate]

  static absl::StatusOr<SwiGluWeights> Load(const HostContext& context, const MlpWeights& w,
                                            int32_t intermediate);
  int64_t size_bytes() const { return gate_up.size_bytes() + down.size_bytes(); }
};

// The workspace; one for all layers.
class SwiGlu {
 public:
  static absl::StatusOr<SwiGlu> Create(const HostContext& context);
  // h += mlp(x). x, h [tokens, hidden]
  void Forward(const HostContext& context, const SwiGluWeights& weights,
               ActivationBuffer& activations, const View<const float, 2>& x,
               const View<float, 2>& h);

 private:
  RowBuffer inner_, out_;
};

}  // namespace tandem
