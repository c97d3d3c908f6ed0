// Experts that live on the device: a pool of equal slots, and per layer a table from expert to
// slot, which the router's kernel reads. Tables and pool stay where they are when the hot set
// changes, so recorded graphs stay right.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model_shape.h"
#include "core/sharded_layout.h"
#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/expert_device.h"

namespace tandem::TANDEM_GPU {

class HotPool {
 public:
  // Room for `capacity` experts of all layers together, and for `spare` that are on their way in; 0
  // is a pool in which nothing is hot. Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<HotPool> Create(const ModelShape& shape, const ShardedLayout& layout,
                                        int32_t capacity, int32_t spare = 0);

  int32_t capacity() const { return capacity_; }
  int32_t slot_of(LayerId layer, ExpertId expert) const {  // below 0: not hot
    return tables_[layer.value][expert.value];
  }
  // As ExpertDevice says; nothing that reads the pool may be under way.
  absl::Status Put(LayerId layer, ExpertId expert, const ExpertShards& bytes,
                   const ExpertId* instead_of, Stream& stream);
  absl::Status Read(LayerId layer, ExpertId expert, const std::vector<std::span<std::byte>>& bytes,
                    Stream& stream) const;

  // For HotReplacer: a slot that nothing reads, to be filled and then either turned over to, which
  // makes the outgoing expert's slot a spare one, or given back. Errors: INVALID_ARGUMENT unless
  // `out` is hot and `in` is not, RESOURCE_EXHAUSTED.
  absl::StatusOr<int32_t> TakeSpare(const HotReplacement& what);
  absl::Status TurnOver(const HotReplacement& what, int32_t slot, Stream& stream);
  void GiveSpareBack(int32_t slot) { spare_slots_.push_back(slot); }
  Global<uint8_t> spare(int32_t slot) const {
    return memory_.part<uint8_t>(slot * slot_bytes(), slot_bytes());
  }

  Global<const int32_t> table(LayerId layer) const {  // [experts]
    return device_tables_.part<int32_t>(int64_t{layer.value} * experts_, experts_);
  }
  Global<const uint8_t> pool() const { return memory_.as<uint8_t>(); }
  Global<const uint8_t> slot(int32_t slot) const {
    return memory_.part<uint8_t>(slot * layout_.expert_bytes(), layout_.expert_bytes());
  }
  int64_t slot_bytes() const { return layout_.expert_bytes(); }
  const ShardedLayout& layout() const { return layout_; }

 private:
  absl::Status CheckIds(LayerId layer, ExpertId expert) const;
  absl::Status CheckReplacement(const HotReplacement& what) const;
  absl::Status SendTable(LayerId layer, Stream& stream) const;

  ShardedLayout layout_;
  int32_t capacity_ = 0, experts_ = 0;
  std::vector<std::vector<int32_t>> tables_;  // [layers][experts]; empty for dense layers
  std::vector<int32_t> free_slots_, spare_slots_;
  DeviceBuffer memory_;
  DeviceBuffer device_tables_;  // int32 [layers, experts]
};

// Copies an expert's shards to where the kernels find them (layout.offset()), from `to` on.
void SendExpert(const ShardedLayout& layout, const ExpertShards& bytes, Global<uint8_t> to,
                Stream& stream);
// The other way.
void FetchExpert(const ShardedLayout& layout, Global<const uint8_t> from,
                 const std::vector<std::span<std::byte>>& bytes, Stream& stream);

}  // namespace tandem::TANDEM_GPU
