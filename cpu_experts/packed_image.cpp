#include "cpu_experts/packed_image.h"

#include <xxhash.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

constexpr char kMagic[8] = {'T', 'A', 'N', 'D', 'E', 'M', 'E', 'X'};
constexpr int64_t kPageBytes = 4096;
constexpr int64_t kTableOffset = 64;
constexpr int64_t kSealBytes = 8;
// Far beyond any model, and small enough that no product of them overflows.
constexpr int32_t kMaxExperts = 1 << 16;
constexpr int32_t kMaxWidth = 1 << 20;
constexpr char kPackAgain[] = "; remove it and run tandem pack again";

// The fixed part of the header as it lies in the file.
struct Head {
  char magic[8];
  uint32_t version;
  uint32_t form;
  int32_t layer, experts, hidden, intermediate, shards;
  uint32_t zero;
  uint64_t source[2];
  uint64_t file_bytes;
};
static_assert(sizeof(Head) == kTableOffset);

uint64_t Seal(std::span<const std::byte> header) {
  return XXH3_64bits(header.data(), header.size() - kSealBytes);
}

std::string ShapeText(const PackedLayerInfo& info) {
  return absl::StrFormat("layer %d, %d experts, hidden %d, intermediate %d", info.layer,
                         info.experts, info.hidden, info.intermediate);
}

absl::StatusOr<Head> ReadHead(const MappedFile& file) {
  const auto bytes = file.bytes();
  if (bytes.size() < sizeof(Head)) {
    return absl::DataLossError(absl::StrCat(file.path(), " is truncated: ", bytes.size(),
                                            " bytes, expected at least ", sizeof(Head),
                                            kPackAgain));
  }
  Head head;
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (std::memcmp(head.magic, kMagic, sizeof(kMagic)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        file.path(), " holds no packed experts: it does not begin with TANDEMEX", kPackAgain));
  }
  if (head.version != kPackedVersion || head.form != kPackedForm) {
    return absl::UnimplementedError(absl::StrCat(
        file.path(), ": version ", head.version, ", form ", head.form,
        " of the packed image; this program reads version ", kPackedVersion, ", form ", kPackedForm,
        head.version > kPackedVersion ? "; use the newer program that wrote it, or pack again"
                                      : "; pack the checkpoint again"));
  }
  return head;
}

// REQUIRES: the shape of `head` was checked and the file is long enough for its header.
absl::Status CheckSeal(const MappedFile& file, int64_t header_bytes) {
  const auto header = file.bytes().first(header_bytes);
  uint64_t seal;
  std::memcpy(&seal, header.data() + header_bytes - kSealBytes, kSealBytes);
  if (seal == Seal(header)) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("%s: the header is damaged: its checksum is %016x, the file says %016x%s",
                      file.path(), Seal(header), seal, kPackAgain));
}

absl::Status CheckExpected(const std::string& path, const PackedLayerInfo& found,
                           PackedLayerInfo expected) {
  if (expected.shards == 0) expected.shards = found.shards;
  if (found == expected) return absl::OkStatus();
  std::string differs;
  if (found.source != expected.source && ShapeText(found) == ShapeText(expected)) {
    differs = absl::StrCat("it was packed from another checkpoint: fingerprint ",
                           HexText(found.source), ", expected ", HexText(expected.source));
  } else if (ShapeText(found) != ShapeText(expected)) {
    differs = absl::StrCat("expected ", ShapeText(expected), ", found ", ShapeText(found));
  } else {
    differs = absl::StrCat("expected ", expected.shards, " shards, found ", found.shards);
  }
  return absl::FailedPreconditionError(
      absl::StrCat(path, " does not belong to this image: ", differs, kPackAgain));
}

}  // namespace

Hash128 HashOf(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

std::string HexText(const Hash128& hash) {
  return absl::StrFormat("%016x%016x", hash.high, hash.low);
}

absl::Status CheckPackedInfo(const PackedLayerInfo& info) {
  const bool sound = info.layer >= 0 && info.experts >= 1 && info.experts <= kMaxExperts &&
                     info.hidden >= 32 && info.hidden <= kMaxWidth && info.hidden % 32 == 0 &&
                     info.intermediate >= 32 && info.intermediate <= kMaxWidth &&
                     info.intermediate % 32 == 0 && info.shards >= 1 &&
                     info.shards <= MaxShards(info.intermediate);
  if (sound) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "packed experts have hidden and intermediate sizes that are positive multiples of 32, and at "
      "most one shard per 32 columns; got ",
      ShapeText(info), ", ", info.shards, " shards"));
}

int64_t PackedHeaderBytes(const PackedLayerInfo& info) {
  const int64_t bytes = PackedChecksumOffset(info, info.experts, 0) + kSealBytes;
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

int64_t PackedFileBytes(const PackedLayerInfo& info) {
  return PackedHeaderBytes(info) + info.experts * info.layout().expert_bytes();
}

int64_t PackedChecksumOffset(const PackedLayerInfo& info, int32_t expert, int32_t shard) {
  return kTableOffset +
         (int64_t{expert} * info.shards + shard) * static_cast<int64_t>(sizeof(Hash128));
}

std::vector<std::byte> EncodePackedHeader(const PackedLayerInfo& info,
                                          std::span<const Hash128> checksums) {
  TANDEM_CHECK(static_cast<int64_t>(checksums.size()) == int64_t{info.experts} * info.shards,
               "one checksum per shard");
  std::vector<std::byte> header(PackedHeaderBytes(info));
  Head head = {};
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  head.version = kPackedVersion;
  head.form = kPackedForm;
  head.layer = info.layer;
  head.experts = info.experts;
  head.hidden = info.hidden;
  head.intermediate = info.intermediate;
  head.shards = info.shards;
  head.source[0] = info.source.low;
  head.source[1] = info.source.high;
  head.file_bytes = PackedFileBytes(info);
  std::memcpy(header.data(), &head, sizeof(head));
  std::memcpy(header.data() + kTableOffset, checksums.data(), checksums.size_bytes());
  const uint64_t seal = Seal(header);
  std::memcpy(header.data() + header.size() - kSealBytes, &seal, kSealBytes);
  return header;
}

absl::StatusOr<std::shared_ptr<const PackedLayer>> PackedLayer::Open(
    const std::string& path, const PackedLayerInfo& expected) {
  auto layer = std::shared_ptr<PackedLayer>(new PackedLayer());
  TANDEM_ASSIGN_OR_RETURN(layer->file_, MappedFile::Open(path));
  const MappedFile& file = layer->file_;
  TANDEM_ASSIGN_OR_RETURN(const Head head, ReadHead(file));
  PackedLayerInfo& info = layer->info_;
  info = {head.layer,        head.experts, head.hidden,
          head.intermediate, head.shards,  {head.source[0], head.source[1]}};
  if (const absl::Status sound = CheckPackedInfo(info); !sound.ok()) {
    return absl::DataLossError(
        absl::StrCat(path, ": the header is damaged: ", std::string(sound.message()), kPackAgain));
  }
  const int64_t header_bytes = PackedHeaderBytes(info), file_bytes = PackedFileBytes(info);
  if (static_cast<int64_t>(file.bytes().size()) >= header_bytes)
    TANDEM_RETURN_IF_ERROR(CheckSeal(file, header_bytes));
  if (static_cast<int64_t>(file.bytes().size()) != file_bytes ||
      static_cast<int64_t>(head.file_bytes) != file_bytes) {
    return absl::DataLossError(
        absl::StrCat(path,
                     static_cast<int64_t>(file.bytes().size()) < file_bytes ? " is truncated: "
                                                                            : " has a wrong size: ",
                     file.bytes().size(), " bytes, expected ", file_bytes, " for ", ShapeText(info),
                     ", ", info.shards, " shards", kPackAgain));
  }
  TANDEM_RETURN_IF_ERROR(CheckExpected(path, info, expected));

  layer->layout_ = info.layout();
  layer->data_offset_ = header_bytes;
  layer->checksums_.resize(int64_t{info.experts} * info.shards);
  std::memcpy(layer->checksums_.data(), file.bytes().data() + kTableOffset,
              layer->checksums_.size() * sizeof(Hash128));
  return layer;
}

absl::Status PackedLayer::Verify(ExpertId expert, int32_t shard,
                                 std::span<const std::byte> block) const {
  const Hash128 found = HashOf(block);
  const Hash128& expected = checksums_[int64_t{expert.value} * info_.shards + shard];
  if (found == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      path(), ": expert ", expert.value, " of layer ", info_.layer, ", shard ", shard,
      " is damaged: its checksum is ", HexText(found), ", expected ", HexText(expected),
      "; the disk or the memory changed it; remove the file and run tandem pack again"));
}

absl::Status PackedLayer::Verify(ExpertId expert) const {
  for (int32_t s = 0; s < info_.shards; ++s)
    TANDEM_RETURN_IF_ERROR(Verify(expert, s, shard(expert, s)));
  return absl::OkStatus();
}

}  // namespace tandem
