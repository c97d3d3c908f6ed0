#include "gpu_attention/cuda/workspace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gpu_attention/cuda/hot_experts.h"
#include "gpu_attention/cuda/mla_decode.h"
#include "gpu_attention/cuda/router.h"
#include "gpu_attention/step_batch.h"

namespace tandem::TANDEM_GPU {
namespace {

// The largest that any number of rows needs: few rows are cut into many splits.
DecodeWorkspace LargestDecode(const ModelShape& s, const Workspace::Needs& needs) {
  DecodeWorkspace most;
  for (int32_t rows = 1; rows <= std::min(needs.max_rows, kAbsorbedRows); ++rows) {
    for (int64_t longest = kPageTokens; longest / 2 < needs.longest; longest *= 2) {
      const int32_t splits = DecodeSplits(rows, s.heads, longest, needs.device.multiprocessors,
                                          needs.device.shared_bytes_per_block);
      const DecodeWorkspace one = DecodeWorkspaceFor(rows, splits, s.heads, s.kv_lora_rank);
      most.partial_elems = std::max(most.partial_elems, one.partial_elems);
      most.lse_elems = std::max(most.lse_elems, one.lse_elems);
    }
  }
  return most;
}

}  // namespace

absl::StatusOr<Workspace> Workspace::Allocate(const ModelShape& s, const Needs& needs) {
  Workspace w;
  w.max_rows_ = needs.max_rows;
  absl::Status status;
  const auto take = [&](const char* name, DeviceBuffer& buffer, int64_t elems, size_t elem_bytes) {
    if (!status.ok() || elems == 0) return;
    auto got = DeviceBuffer::Allocate(elems * elem_bytes, absl::StrCat("workspace: ", name));
    status = got.status();
    if (!status.ok()) return;
    buffer = *std::move(got);
    w.bytes_ += buffer.bytes();
  };
  const auto floats = [&](const char* name, DeviceBuffer& buffer, int64_t elems) {
    take(name, buffer, elems, sizeof(float));
  };
  const auto halves = [&](const char* name, DeviceBuffer& buffer, int64_t elems) {
    take(name, buffer, elems, sizeof(bf16));
  };
  const int64_t rows = needs.max_rows;
  floats("h", w.h, rows * s.hidden);
  halves("x", w.x, rows * s.hidden);
  floats("qa_kva", w.qa_kva, rows * (s.q_lora_rank + s.cache_dim()));
  halves("qa", w.qa, rows * s.q_lora_rank);
  halves("q", w.q, rows * s.heads * s.qk_dim());
  halves("attended", w.attended, rows * s.heads * s.v_dim);

  const int64_t absorbed = std::min<int64_t>(rows, kAbsorbedRows);
  halves("query", w.query, absorbed * s.heads * s.cache_dim());
  halves("latents", w.latents, absorbed * s.heads * s.kv_lora_rank);
  const DecodeWorkspace decode = LargestDecode(s, needs);
  floats("partial", w.partial, decode.partial_elems);
  floats("lse", w.lse, decode.lse_elems);

  halves("gathered", w.gathered, int64_t{kNaiveKeys} * s.cache_dim());
  halves("kv", w.kv, int64_t{kNaiveKeys} * s.heads * (s.qk_nope_dim + s.v_dim));
  floats("acc", w.acc, rows * s.heads * s.v_dim);
  floats("max", w.max, rows * s.heads);
  floats("sum", w.sum, rows * s.heads);

  const int64_t widest = std::max(s.dense_layers > 0 ? s.dense_intermediate : 0,
                                  s.moe_layers() > 0 ? s.shared_intermediate() : 0);
  floats("gate_up", w.gate_up, rows * 2 * widest);
  halves("activated", w.activated, rows * widest);
  if (s.moe_layers() > 0) {
    floats("router", w.router, RouterWorkspaceFloats(needs.max_rows, s.hidden, s.experts));
    take("expert_ids", w.expert_ids, rows * s.top_k, sizeof(int32_t));
    floats("weights", w.weights, rows * s.top_k);
  }
  if (needs.experts) {
    floats("own_sums", w.own_sums, rows * s.hidden);
    const int32_t hot_rows = std::min(needs.max_rows, kHotKernelRows);
    take("hot_scratch", w.hot_scratch,
         HotExpertsWorkspaceBytes(hot_rows, s.top_k, s.experts, needs.cuts), 1);
  }
  floats("logits", w.logits, int64_t{kLogitRows} * s.vocab);
  take("logit_rows", w.logit_rows, kLogitRows, sizeof(int32_t));
  TANDEM_RETURN_IF_ERROR(status);
  return w;
}

}  // namespace tandem::TANDEM_GPU
