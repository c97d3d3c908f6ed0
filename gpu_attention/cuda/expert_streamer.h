// Experts over many tokens on the device: those in the pool, and those whose bytes are sent over
// for this one layer. Two buffers take turns: while the experts in one are computed, the other is
// filled, by a stream of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/status.h"
#include "gpu_attention/cuda/hot_pool.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/expert_device.h"

namespace tandem::TANDEM_GPU {

class ExpertStreamer {
 public:
  struct Shape {
    int32_t hidden = 0, top_k = 0, experts = 0;
    int32_t max_rows = 0;
    int64_t buffer_bytes = 0;  // of both buffers; less than two experts: nothing can be streamed
    ShardedLayout layout;
  };
  // `stream` is where the step's other work goes; it must outlive the object. Errors:
  // RESOURCE_EXHAUSTED.
  static absl::StatusOr<ExpertStreamer> Create(const Shape& shape, Stream& stream);

  bool streams() const { return group_ > 0; }
  int32_t group() const { return group_; }  // experts of one buffer

  // y = sum over `work` of weight * expert(x), as ExpertDevice::ComputeExperts(). The work of the
  // previous call must have left the device's queue.
  // x BF16 [rows, hidden], y F32 [rows, hidden], overwritten.
  absl::Status Compute(LayerId layer, const RoutedTokens& routed,
                       std::span<const ExpertDevice::Work> work, const HotPool& pool,
                       Global<const bf16> x, Global<float> y);

 private:
  // The rows of one expert: [begin, begin + count) of the lists.
  struct Rows {
    int32_t begin = 0, count = 0;
  };
  void ListRows(const RoutedTokens& routed, std::span<const ExpertDevice::Work> work);
  void Run(Global<const uint8_t> expert, Rows rows, Global<float> y);
  void StreamGroup(std::span<const ExpertDevice::Work> work, std::span<const Rows> rows, int buffer,
                   Global<float> y);

  Shape shape_;
  int32_t group_ = 0;
  Stream* stream_ = nullptr;
  std::optional<Stream> copies_;
  std::vector<Event> filled_, used_;  // of the two buffers
  DeviceBuffer buffers_[2];
  DeviceBuffer arranged_;  // BF16 [max_rows, hidden]
  DeviceBuffer h_;         // BF16 [max_rows, width]
  PinnedBuffer lists_;     // int32 rows, then F32 weights: [max_rows * top_k] each
  DeviceBuffer device_lists_;
  std::vector<Rows> rows_;  // by place in `work`
};

}  // namespace tandem::TANDEM_GPU
