#include "gpu_attention/cuda/hot_pool.h"

#include "absl/strings/str_cat.h"

namespace tandem::TANDEM_GPU {
namespace {

// As they appear in messages.
std::string Name(LayerId layer, ExpertId expert) {
  return absl::StrCat("expert ", expert.value, " of layer ", layer.value);
}

}  // namespace

void SendExpert(const ShardedLayout& layout, const ExpertShards& bytes, Global<uint8_t> to,
                Stream& stream) {
  TANDEM_CHECK(std::ssize(bytes) == layout.n_shards(), "a span for every shard");
  for (int s = 0; s < layout.n_shards(); ++s) {
    TANDEM_CHECK(std::ssize(bytes[s]) == layout.block_bytes(s), "a whole shard");
    stream.CopyToDevice(to + layout.offset(s), reinterpret_cast<const uint8_t*>(bytes[s].data()),
                        layout.block_bytes(s));
  }
}

void FetchExpert(const ShardedLayout& layout, Global<const uint8_t> from,
                 const std::vector<std::span<std::byte>>& bytes, Stream& stream) {
  TANDEM_CHECK(std::ssize(bytes) == layout.n_shards(), "a span for every shard");
  for (int s = 0; s < layout.n_shards(); ++s) {
    TANDEM_CHECK(std::ssize(bytes[s]) == layout.block_bytes(s), "a whole shard");
    stream.CopyToHost<uint8_t>(reinterpret_cast<uint8_t*>(bytes[s].data()), from + layout.offset(s),
                               layout.block_bytes(s));
  }
}

absl::StatusOr<HotPool> HotPool::Create(const ModelShape& shape, const ShardedLayout& layout,
                                        int32_t capacity, int32_t spare) {
  HotPool pool;
  pool.layout_ = layout;
  pool.capacity_ = capacity;
  pool.experts_ = shape.experts;
  for (int32_t l = 0; l < shape.layers; ++l)
    pool.tables_.emplace_back(shape.is_moe(l) ? shape.experts : 0, -1);
  for (int32_t slot = capacity - 1; slot >= 0; --slot) pool.free_slots_.push_back(slot);
  for (int32_t slot = capacity; slot < capacity + spare; ++slot) pool.spare_slots_.push_back(slot);
  const int64_t bytes = (capacity + spare) * layout.expert_bytes();
  TANDEM_ASSIGN_OR_RETURN(pool.memory_,
                          DeviceBuffer::Allocate(bytes, absl::StrCat(capacity, " hot experts")));
  const int64_t entries = int64_t{shape.layers} * shape.experts;
  TANDEM_ASSIGN_OR_RETURN(pool.device_tables_,
                          DeviceBuffer::Allocate(entries * sizeof(int32_t), "hot experts' table"));
  TANDEM_ASSIGN_OR_RETURN(Stream stream, Stream::Create());
  for (int32_t l = 0; l < shape.layers; ++l)
    if (shape.is_moe(l)) TANDEM_RETURN_IF_ERROR(pool.SendTable({l}, stream));
  return pool;
}

absl::Status HotPool::CheckIds(LayerId layer, ExpertId expert) const {
  if (layer.value >= 0 && layer.value < std::ssize(tables_) && expert.value >= 0 &&
      expert.value < std::ssize(tables_[layer.value]))
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("there is no ", Name(layer, expert)));
}

absl::Status HotPool::SendTable(LayerId layer, Stream& stream) const {
  stream.CopyToDevice(device_tables_.part<int32_t>(int64_t{layer.value} * experts_, experts_),
                      tables_[layer.value].data(), experts_);
  return stream.Synchronize();
}

absl::Status HotPool::Put(LayerId layer, ExpertId expert, const ExpertShards& bytes,
                          const ExpertId* instead_of, Stream& stream) {
  TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
  if (instead_of != nullptr) TANDEM_RETURN_IF_ERROR(CheckIds(layer, *instead_of));
  std::vector<int32_t>& table = tables_[layer.value];
  if (table[expert.value] >= 0)
    return absl::InvalidArgumentError(absl::StrCat(Name(layer, expert), " is hot already"));
  int32_t slot = -1;
  if (instead_of != nullptr) {
    slot = table[instead_of->value];
    if (slot < 0)
      return absl::InvalidArgumentError(absl::StrCat(Name(layer, *instead_of), " is not hot"));
  } else if (free_slots_.empty()) {
    return absl::ResourceExhaustedError(absl::StrCat("no place for ", Name(layer, expert), ": all ",
                                                     capacity_,
                                                     " places for hot experts are taken"));
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  if (instead_of != nullptr) table[instead_of->value] = -1;
  SendExpert(layout_, bytes, memory_.part<uint8_t>(slot * slot_bytes(), slot_bytes()), stream);
  table[expert.value] = slot;
  return SendTable(layer, stream);
}

absl::Status HotPool::Read(LayerId layer, ExpertId expert,
                           const std::vector<std::span<std::byte>>& bytes, Stream& stream) const {
  TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
  const int32_t slot = slot_of(layer, expert);
  if (slot < 0) return absl::InvalidArgumentError(absl::StrCat(Name(layer, expert), " is not hot"));
  FetchExpert(layout_, this->slot(slot), bytes, stream);
  return stream.Synchronize();
}

absl::Status HotPool::CheckReplacement(const HotReplacement& what) const {
  TANDEM_RETURN_IF_ERROR(CheckIds(what.layer, what.in));
  TANDEM_RETURN_IF_ERROR(CheckIds(what.layer, what.out));
  if (slot_of(what.layer, what.in) >= 0)
    return absl::InvalidArgumentError(absl::StrCat(Name(what.layer, what.in), " is hot already"));
  if (slot_of(what.layer, what.out) < 0)
    return absl::InvalidArgumentError(absl::StrCat(Name(what.layer, what.out), " is not hot"));
  return absl::OkStatus();
}

absl::StatusOr<int32_t> HotPool::TakeSpare(const HotReplacement& what) {
  TANDEM_RETURN_IF_ERROR(CheckReplacement(what));
  if (spare_slots_.empty()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no spare place for ", Name(what.layer, what.in)));
  }
  const int32_t slot = spare_slots_.back();
  spare_slots_.pop_back();
  return slot;
}

absl::Status HotPool::TurnOver(const HotReplacement& what, int32_t slot, Stream& stream) {
  TANDEM_RETURN_IF_ERROR(CheckReplacement(what));
  std::vector<int32_t>& table = tables_[what.layer.value];
  const int32_t old_slot = table[what.out.value];
  table[what.out.value] = -1;
  table[what.in.value] = slot;
  TANDEM_RETURN_IF_ERROR(SendTable(what.layer, stream));
  spare_slots_.push_back(old_slot);
  return absl::OkStatus();
}

}  // namespace tandem::TANDEM_GPU
