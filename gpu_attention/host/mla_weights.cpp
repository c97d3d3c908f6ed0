// Packing of a layer's attention matrices.
#include "gpu_attention/host/mla.h"
#include "gpu_attention/weight_checks.h"

namespace tandem {
namespace {

// Rows [first, first + rows) of `source`, head by head: head h owns rows [h * step, (h + 1) *
// step).
View<const bf16, 2> HeadRows(const MatrixView& source, int32_t head, int32_t step, int32_t first,
                             int32_t rows) {
  return source.Slice(int64_t{head} * step + first, rows);
}

View<const bf16, 2> Transposed(const View<const bf16, 2>& m) {
  return {m.data(), {m.dim(1), m.dim(0)}, {m.stride(1), m.stride(0)}};
}

}  // namespace

absl::StatusOr<MlaWeights> MlaWeights::Load(const HostContext& context, const AttentionWeights& w) {
  const ModelShape& s = context.shape;
  MlaWeights m;
  m.input_norm = ToFloats(w.input_norm);
  m.kv_a_norm = ToFloats(w.kv_a_norm);
  if (s.q_lora_rank > 0) m.q_a_norm = ToFloats(w.q_a_norm);

  const int32_t q_in = s.q_lora_rank > 0 ? s.q_lora_rank : s.hidden;
  TANDEM_ASSIGN_OR_RETURN(
      m.qa_kva, PackedMatrix::Allocate(context.format, s.q_lora_rank + s.cache_dim(), s.hidden));
  TANDEM_ASSIGN_OR_RETURN(m.q_b, PackedMatrix::Allocate(context.format, s.qk_dim(), q_in, s.heads));
  TANDEM_ASSIGN_OR_RETURN(
      m.w_uk, PackedMatrix::Allocate(context.format, s.kv_lora_rank, s.qk_nope_dim, s.heads));
  TANDEM_ASSIGN_OR_RETURN(m.w_uv,
                          PackedMatrix::Allocate(context.format, s.v_dim, s.kv_lora_rank, s.heads));
  TANDEM_ASSIGN_OR_RETURN(m.o_proj,
                          PackedMatrix::Allocate(context.format, s.hidden, s.heads * s.v_dim));

  if (s.q_lora_rank > 0) m.qa_kva.Pack(w.q_a, 0, 0, &context.team);
  m.qa_kva.Pack(w.kv_a, 0, s.q_lora_rank, &context.team);
  m.o_proj.Pack(w.o_proj, 0, 0, &context.team);
  const MatrixView& q = s.q_lora_rank > 0 ? w.q_b : w.q_proj;
  const int32_t kv_rows = s.qk_nope_dim + s.v_dim;
  context.team.ParallelFor(s.heads, 1, [&](int64_t begin, int64_t end, int) {
    for (auto head = static_cast<int32_t>(begin); head < end; ++head) {
      m.q_b.Pack(HeadRows(q, head, s.qk_dim(), 0, s.qk_dim()), head, 0, nullptr);
      m.w_uk.Pack(Transposed(HeadRows(w.kv_b, head, kv_rows, 0, s.qk_nope_dim)), head, 0, nullptr);
      m.w_uv.Pack(HeadRows(w.kv_b, head, kv_rows, s.qk_nope_dim, s.v_dim), head, 0, nullptr);
    }
  });
  return m;
}

int64_t MlaWeights::size_bytes() const {
  return qa_kva.size_bytes() + q_b.size_bytes() + w_uk.size_bytes() + w_uv.size_bytes() +
         o_proj.size_bytes();
}

}  // namespace tandem
