// The GPU's ends of the mailbox (mailbox.h).
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// Copies the rows, then rings: *bell = *step, once everything is visible to the CPU.
// REQUIRES: hidden_elems a multiple of 8; 16-byte aligned rows.
struct PublishArgs {
  int64_t hidden_elems = 0;  // tokens * hidden
  int32_t choices = 0;       // tokens * top_k
  Global<const bf16> hidden;
  Global<const int32_t> expert_ids;
  Global<const float> weights;
  Global<bf16> to_hidden;  // mapped
  Global<int32_t> to_expert_ids;
  Global<float> to_weights;
  Global<int32_t> arrived;  // [1] zero before and after
  Global<const uint32_t> step;
  Global<uint32_t> bell;  // mapped
};
void PublishRows(Stream& stream, const PublishArgs& args);

// Waits until *bell == *step. Gives up after timeout_ns, then writes `code` to *stuck unless
// something is there; returns at once when *stuck or *abandoned is set.
struct AwaitAnswerArgs {
  Global<const uint32_t> step;
  Global<const uint32_t> bell;  // mapped, like the next two
  Global<const uint32_t> abandoned;
  Global<uint32_t> stuck;
  uint32_t code = 0;
  uint64_t timeout_ns = 0;
};
void AwaitAnswer(Stream& stream, const AwaitAnswerArgs& args);

// h += answer (+ own). REQUIRES: elems a multiple of 4, 16-byte aligned.
struct AddRowsArgs {
  int64_t elems = 0;
  Global<float> h;
  Global<const float> answer;  // mapped
  Global<const float> own;     // or null
};
void AddRows(Stream& stream, const AddRowsArgs& args);

}  // namespace tandem::TANDEM_GPU
