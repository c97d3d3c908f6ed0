// The routed experts of one layer on disk, as they lie in RAM: what `tandem pack` writes.
//
// One file per MoE layer, little-endian:
//   header, PackedHeaderBytes() long (a multiple of 4 KiB):
//        0  8 bytes   "TANDEMEX"
//        8  uint32    version, kPackedVersion
//       12  uint32    form of the weights, kPackedForm: panel16g32
//       16  int32[5]  layer, experts, hidden, intermediate, shards per expert
//       36  uint32    zero
//       40  uint64[2] fingerprint of the checkpoint that it was packed from
//       56  uint64    bytes of the whole file
//       64  uint64[2] [experts][shards]: XXH3-128 of each shard's block, the zeros behind it
//       included
//      ...  zeros
//   end - 8  uint64   XXH3-64 of the header before this field
//   experts, one after the other; each is ShardedLayout{hidden, intermediate, shards}: shard blocks
//   in panel16g32, every block from a multiple of 4 KiB and filled up with zeros.
// Every byte is under a checksum, and every size follows from the five numbers: a header that says
// anything else is refused. A reader needs no more than mmap, or O_DIRECT reads to where the
// experts shall lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/memory.h"
#include "core/status.h"
#include "cpu_experts/shards.h"

namespace tandem {

constexpr uint32_t kPackedVersion = 1;  // DO NOT RENUMBER: a new layout gets a new number
constexpr uint32_t kPackedForm = 1;     // panel16g32; DO NOT RENUMBER

// XXH3-128.
struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};
Hash128 HashOf(std::span<const std::byte> bytes);
std::string HexText(const Hash128& hash);  // 32 digits

// What a layer file says of itself.
struct PackedLayerInfo {
  int32_t layer = 0;
  int32_t experts = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t shards = 1;
  Hash128 source;
  bool operator==(const PackedLayerInfo&) const = default;

  ShardedLayout layout() const { return {hidden, intermediate, shards}; }
};

int64_t PackedHeaderBytes(const PackedLayerInfo& info);  // where expert 0 begins
int64_t PackedFileBytes(const PackedLayerInfo& info);
// Where the checksum of a shard lies in the header.
int64_t PackedChecksumOffset(const PackedLayerInfo& info, int32_t expert, int32_t shard);

// `checksums`: [experts * shards]. REQUIRES: CheckPackedInfo(info).
std::vector<std::byte> EncodePackedHeader(const PackedLayerInfo& info,
                                          std::span<const Hash128> checksums);
// Sizes that the format can hold.
absl::Status CheckPackedInfo(const PackedLayerInfo& info);

// One layer file, mapped read-only. Thread-safe.
class PackedLayer {
 public:
  // Reads and checks the header; touches no expert. Errors name the file, what was expected and
  // found, and what to do: INVALID_ARGUMENT (not such a file), UNIMPLEMENTED (another version),
  // DATA_LOSS (truncated, or the header is damaged), FAILED_PRECONDITION (`expected` is another
  // model, layer or shape). `expected.shards` 0: any number.
  static absl::StatusOr<std::shared_ptr<const PackedLayer>> Open(const std::string& path,
                                                                 const PackedLayerInfo& expected);

  const std::string& path() const { return file_.path(); }
  const PackedLayerInfo& info() const { return info_; }
  const ShardedLayout& layout() const { return layout_; }
  const MappedFile& file() const { return file_; }

  // Position of an expert in the file.
  int64_t offset(ExpertId expert) const {
    return data_offset_ + expert.value * layout_.expert_bytes();
  }
  // All shards of an expert, or one of them, in the mapping.
  std::span<const std::byte> expert(ExpertId expert) const {
    return file_.bytes().subspan(offset(expert), layout_.expert_bytes());
  }
  std::span<const std::byte> shard(ExpertId expert, int32_t shard) const {
    return this->expert(expert).subspan(layout_.offset(shard), layout_.block_bytes(shard));
  }

  // Holds a copy of a shard's block against its checksum. Error: DATA_LOSS naming file and expert.
  absl::Status Verify(ExpertId expert, int32_t shard, std::span<const std::byte> block) const;
  // The same for all shards of an expert in the mapping.
  absl::Status Verify(ExpertId expert) const;

 private:
  PackedLayer() = default;

  MappedFile file_;
  PackedLayerInfo info_;
  ShardedLayout layout_;
  int64_t data_offset_ = 0;
  std::vector<Hash128> checksums_;  // [experts * shards]
};

}  // namespace tandem
