#include "gpu_attention/host/swiglu.h"

#include <algorithm>

#include "gpu_attention/host/linear.h"

namespace tandem {

absl::StatusOr<SwiGluWeights> SwiGluWeights::Load(const HostContext& context, const MlpWeights& w,
                                                  int32_t intermediate) {
  const int32_t hidden = context.shape.hidden;
  SwiGluWeights m;
  m.intermediate = intermediate;
  TANDEM_ASSIGN_OR_RETURN(m.gate_up,
                          PackedMatrix::Allocate(context.format, 2 * intermediate, hidden));
  TANDEM_ASSIGN_OR_RETURN(m.down, PackedMatrix::Allocate(context.format, hidden, intermediate));
  m.gate_up.Pack(w.gate, 0, 0, &context.team);
  m.gate_up.Pack(w.up, 0, intermediate, &context.team);
  m.down.Pack(w.down, 0, 0, &context.team);
  return m;
}

absl::StatusOr<SwiGlu> SwiGlu::Create(const HostContext& context) {
  const ModelShape& s = context.shape;
  const int64_t widest = std::max(s.dense_layers > 0 ? s.dense_intermediate : 0,
                                  s.moe_layers() > 0 ? s.shared_intermediate() : 0);
  SwiGlu m;
  TANDEM_ASSIGN_OR_RETURN(m.inner_,
                          RowBuffer::Allocate(context.max_tokens, 2 * widest + kDensePanelRows));
  TANDEM_ASSIGN_OR_RETURN(m.out_,
                          RowBuffer::Allocate(context.max_tokens, s.hidden + kDensePanelRows));
  return m;
}

void SwiGlu::Forward(const HostContext& context, const SwiGluWeights& weights,
                     ActivationBuffer& activations, const View<const float, 2>& x,
                     const View<float, 2>& h) {
  const int64_t tokens = x.dim(0);
  const int32_t width = weights.intermediate;
  LinearInput in = activations.Prepare(context.kernels, context.format, x, &context.team);
  Linear(context.kernels, weights.gate_up, in, context.team,
         inner_.Rows(tokens, weights.gate_up.padded_rows()));
  ForRows(context.team, tokens, width, [&](int64_t t) {
    float* gate = inner_.row(t);
    context.kernels.silu_mul(gate, gate + width, width, gate);
  });
  in = activations.Prepare(context.kernels, context.format, inner_.Rows(tokens, width),
                           &context.team);
  const View<float, 2> out = out_.Rows(tokens, weights.down.padded_rows());
  Linear(context.kernels, weights.down, in, context.team, out);
  AddRows(context.team, out, h);
}

}  // namespace tandem
