// The device memory that steps compute in, taken once. Per-row buffers hold max_rows rows and are
// indexed by the step's row, so that two parts of a step do not meet.
#pragma once

#include <cstdint>

#include "core/model_shape.h"
#include "core/status.h"
#include "gpu_attention/cuda/expert_weights.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

constexpr int32_t kLogitRows = 64;      // of one product with the head
constexpr int32_t kAbsorbedRows = 256;  // of one launch of absorbed attention
constexpr int32_t kNaiveKeys = 2048;    // keys expanded at a time
constexpr int32_t kHotKernelRows = 64;  // up to so many rows hot experts go by HotExperts()
constexpr int32_t kGraphRows = 64;      // most rows of a step that is recorded

struct Workspace {
  DeviceBuffer h;         // F32 [rows, hidden] the residual stream
  DeviceBuffer x;         // BF16 [rows, hidden] normed
  DeviceBuffer qa_kva;    // F32 [rows, q_lora_rank + cache_dim]
  DeviceBuffer qa;        // BF16 [rows, q_lora_rank]
  DeviceBuffer q;         // BF16 [rows, heads * qk_dim]
  DeviceBuffer attended;  // BF16 [rows, heads * v_dim]
  // Absorbed attention.
  DeviceBuffer query;    // BF16 [kAbsorbedRows, heads, cache_dim]
  DeviceBuffer latents;  // BF16 [kAbsorbedRows, heads, kv_lora_rank]
  DeviceBuffer partial, lse;
  // Naive attention.
  DeviceBuffer gathered;  // BF16 [kNaiveKeys, cache_dim]
  DeviceBuffer kv;        // BF16 [kNaiveKeys, heads * (nope + v)]
  DeviceBuffer acc;       // F32 [rows, heads, v_dim]
  DeviceBuffer max, sum;  // F32 [rows, heads]
  // MLPs and experts.
  DeviceBuffer gate_up;      // F32 [rows, 2 * widest]
  DeviceBuffer activated;    // BF16 [rows, widest]
  DeviceBuffer router;       // F32
  DeviceBuffer expert_ids;   // int32 [rows, top_k]
  DeviceBuffer weights;      // F32 [rows, top_k]
  DeviceBuffer own_sums;     // F32 [rows, hidden] of experts on the device
  DeviceBuffer hot_scratch;  // of HotExperts()
  DeviceBuffer logits;       // F32 [kLogitRows, vocab]
  DeviceBuffer logit_rows;   // int32 [kLogitRows]

  struct Needs {
    int32_t max_rows = 0;
    int64_t longest = 0;   // most tokens of a sequence
    bool experts = false;  // on the device
    DeviceProperties device;
    ExpertCuts cuts;
  };
  // Errors: RESOURCE_EXHAUSTED naming the buffer.
  static absl::StatusOr<Workspace> Allocate(const ModelShape& shape, const Needs& needs);
  int32_t max_rows() const { return max_rows_; }
  int64_t bytes() const { return bytes_; }

 private:
  int32_t max_rows_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace tandem::TANDEM_GPU
