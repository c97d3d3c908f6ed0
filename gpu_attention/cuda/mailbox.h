// Where GPU and CPU meet once per MoE layer: pinned, mapped memory that both see.
//
//   GPU, in its stream                              CPU, in the step's thread
//   Publish: rows, expert ids, weights -> slot;
//            rung[layer, part] = step        -->    AwaitRows: spins on rung
//   ... its own experts ...                         reads the slot, writes the sums into it
//   AddAnswer: spins on answered[layer, part] <--   RingAnswered: answered[layer, part] = step
//            h += sums + own experts' sums
//
// Doorbells are one word per layer, part and direction, and hold the number of the step, so nothing
// is ever reset and a recorded graph runs again with the next number. Rows and sums have one slot
// per part: a part's next layer writes only after its last answer was taken. No host callbacks.
//
// Neither side waits for ever. A GPU that waited `timeout` for an answer writes down the layer and
// goes on with wrong numbers: the step must then be thrown away (CheckDevice()). A CPU waits a
// quarter longer, then says which layer the GPU did not ring: so when both wait, the one that waits
// for the guilty one is heard.
//
// Bytes per token, K2.6: 14 KB to the CPU, 29 KB back; at 25 GB/s 1.7 us, and about 1 us each way
// for a doorbell to be seen.
#pragma once

#include <chrono>
#include <cstdint>

#include "core/bf16.h"
#include "core/ids.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

struct MailboxShape {
  int32_t layers = 0;
  int32_t parts = 1;
  int32_t rows = 0;  // most rows of a part
  int32_t hidden = 0;
  int32_t top_k = 0;
};

class Mailbox {
 public:
  // Errors: RESOURCE_EXHAUSTED for memory.
  static absl::StatusOr<Mailbox> Create(const MailboxShape& shape,
                                        std::chrono::nanoseconds timeout);

  // CPU: the step that doorbells belong to from now on. Numbers grow by one.
  void BeginStep(uint32_t step);
  // CPU: waits for Publish() of this layer and part. Errors: UNAVAILABLE naming layer and side;
  // whatever `stream` reports.
  absl::Status AwaitRows(LayerId layer, int part, const Stream& stream);
  // CPU: the published rows; valid from AwaitRows() to RingAnswered().
  RoutedTokens Rows(int part, int32_t tokens) const;
  View<float, 2> Answer(int part, int32_t tokens) const;
  void RingAnswered(LayerId layer, int part);
  // CPU: makes all waits of the running step return at once, because it is lost.
  void Abandon();
  // CPU, after the step: UNAVAILABLE naming the layer whose answer the GPU gave up on.
  absl::Status CheckDevice() const;

  // GPU: puts the two ends into the stream. `step` [1] is the running step's number, on the device.
  struct PublishedRows {
    Global<const bf16> hidden;         // [tokens, hidden]
    Global<const int32_t> expert_ids;  // [tokens, top_k]
    Global<const float> weights;       // [tokens, top_k]
  };
  void Publish(Stream& stream, LayerId layer, int part, int32_t tokens, const PublishedRows& rows,
               Global<const uint32_t> step);
  // h += answer + own. h, own [tokens, hidden]; own may be null.
  void AddAnswer(Stream& stream, LayerId layer, int part, int32_t tokens, Global<float> h,
                 Global<const float> own, Global<const uint32_t> step);

 private:
  struct Slot {  // byte offsets in slots_
    size_t hidden = 0, expert_ids = 0, weights = 0, answer = 0;
  };
  enum Word { kAbandoned, kStuck, kFirstBell };
  size_t BellOffset(bool answered, LayerId layer, int part) const;
  uint32_t* HostWord(size_t offset) const {
    return reinterpret_cast<uint32_t*>(control_.data() + offset);
  }
  Global<uint32_t> DeviceWord(size_t offset) const { return control_.device<uint32_t>(offset, 1); }

  MailboxShape shape_;
  std::chrono::nanoseconds timeout_{};
  uint32_t step_ = 0;
  PinnedBuffer control_;  // words, each on a cache line of its own
  PinnedBuffer slots_;
  DeviceBuffer arrived_;  // [1] blocks of the running Publish() that are done
  Slot slot_[2];
};

}  // namespace tandem::TANDEM_GPU
