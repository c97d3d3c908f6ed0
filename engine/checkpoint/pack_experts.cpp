#include "engine/checkpoint/pack_experts.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/memory.h"
#include "engine/checkpoint/output_file.h"

namespace tandem {
namespace {

constexpr int64_t kFixedHeaderBytes = 64;  // what identifies a layer, before its checksums

// One expert in the form of the image, from a checkpoint or from another cut.
absl::Status PackOne(const Checkpoint& checkpoint, const WeightReader& reader, LayerId layer,
                     ExpertId expert, const ShardedLayout& layout, uint8_t* out) {
  if (checkpoint.packed() == nullptr) {
    TANDEM_ASSIGN_OR_RETURN(const Loaded<ExpertWeights> loaded, reader.Expert(layer, expert));
    PackShards(layout, loaded.weights, out);
    loaded.DropSources();
    return absl::OkStatus();
  }
  const PackedLayer& image = *checkpoint.packed_layer(layer.value);
  TANDEM_RETURN_IF_ERROR(image.Verify(expert));
  std::vector<const uint8_t*> shards;
  for (int s = 0; s < image.layout().n_shards(); ++s)
    shards.push_back(reinterpret_cast<const uint8_t*>(image.shard(expert, s).data()));
  for (int s = 0; s < layout.n_shards(); ++s)
    ReshardInto(image.layout(), shards, layout, s, out + layout.offset(s));
  image.file().Advise(image.expert(expert), /*will_need=*/false);
  return absl::OkStatus();
}

// The .part file of a layer: experts in their final place, and a checksum for each that is done.
class LayerWriter {
 public:
  static absl::StatusOr<LayerWriter> Open(const PackedLayerInfo& info, const std::string& path) {
    LayerWriter writer;
    writer.info_ = info;
    writer.layout_ = info.layout();
    writer.checksums_.resize(int64_t{info.experts} * info.shards);
    const auto blank = EncodePackedHeader(info, writer.checksums_);
    TANDEM_ASSIGN_OR_RETURN(writer.file_, OutputFile::Open(path, PackedFileBytes(info)));
    if (!writer.file_.is_new()) {
      std::vector<std::byte> found(blank.size());
      TANDEM_RETURN_IF_ERROR(writer.file_.ReadAt(0, found));
      if (std::equal(found.begin(), found.begin() + kFixedHeaderBytes, blank.begin())) {
        std::memcpy(writer.checksums_.data(), found.data() + kFixedHeaderBytes,
                    writer.checksums_.size() * sizeof(Hash128));
        return writer;
      }
    }
    // No seal yet: this is not a header that a reader would take.
    std::vector<std::byte> start(blank.size());
    std::copy_n(blank.begin(), kFixedHeaderBytes, start.begin());
    TANDEM_RETURN_IF_ERROR(writer.file_.WriteAt(0, start));
    return writer;
  }

  // True if an earlier run wrote this expert whole. `scratch` holds an expert.
  bool Has(ExpertId expert, std::span<std::byte> scratch) {
    const auto sums = Checksums(expert);
    if (std::all_of(sums.begin(), sums.end(), [](const Hash128& h) { return h == Hash128{}; }))
      return false;
    if (!file_.ReadAt(Offset(expert), scratch).ok()) return false;
    for (int s = 0; s < info_.shards; ++s)
      if (HashOf(scratch.subspan(layout_.offset(s), layout_.block_bytes(s))) != sums[s])
        return false;
    return true;
  }

  absl::Status Write(ExpertId expert, std::span<const std::byte> bytes) {
    TANDEM_RETURN_IF_ERROR(file_.WriteAt(Offset(expert), bytes));
    const auto sums = Checksums(expert);
    for (int s = 0; s < info_.shards; ++s)
      sums[s] = HashOf(bytes.subspan(layout_.offset(s), layout_.block_bytes(s)));
    return file_.WriteAt(PackedChecksumOffset(info_, expert.value, 0), std::as_bytes(sums));
  }

  absl::Status Finish() {
    TANDEM_RETURN_IF_ERROR(file_.WriteAt(0, EncodePackedHeader(info_, checksums_)));
    return file_.Finish();
  }

 private:
  std::span<Hash128> Checksums(ExpertId expert) {
    return std::span(checksums_).subspan(int64_t{expert.value} * info_.shards, info_.shards);
  }
  int64_t Offset(ExpertId expert) const {
    return PackedHeaderBytes(info_) + expert.value * layout_.expert_bytes();
  }

  PackedLayerInfo info_;
  ShardedLayout layout_;
  OutputFile file_;
  std::vector<Hash128> checksums_;  // [experts * shards]; zero: not there
};

// True if the finished file is there and sound. A damaged one makes way.
absl::StatusOr<bool> KeepFinished(const PackedLayerInfo& info, const std::string& path,
                                  WorkerTeam& team, Meter& meter) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return false;
  const auto layer = PackedLayer::Open(path, info);
  absl::Status status = layer.status();
  if (status.ok()) status = VerifyLayer(**layer, team, meter);
  if (status.ok()) return true;
  LogWarning("{}; it is written anew", std::string(status.message()));
  if (std::filesystem::remove(path, error)) return false;
  return absl::PermissionDeniedError(absl::StrCat("cannot remove ", path, ": ", error.message()));
}

}  // namespace

absl::Status VerifyLayer(const PackedLayer& layer, WorkerTeam& team, Meter& meter) {
  FirstError error;
  team.ParallelFor(layer.info().experts, 1, [&](int64_t begin, int64_t end, int) {
    for (auto e = static_cast<int32_t>(begin); e < end && error.ok(); ++e) {
      error.Keep(layer.Verify({e}));
      layer.file().Advise(layer.expert({e}), /*will_need=*/false);
      meter.Add(layer.layout().expert_bytes());
    }
  });
  return error.Take();
}

absl::Status PackLayer(const Checkpoint& checkpoint, const WeightReader& reader,
                       const PackedLayerInfo& info, const std::string& path, WorkerTeam& team,
                       Meter& meter, std::atomic<int64_t>& kept_bytes) {
  const ShardedLayout layout = info.layout();
  TANDEM_ASSIGN_OR_RETURN(const bool kept, KeepFinished(info, path, team, meter));
  if (kept) {
    kept_bytes += info.experts * layout.expert_bytes();
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(LayerWriter writer, LayerWriter::Open(info, path));
  std::vector<NumaBuffer> buffers(team.size());
  for (NumaBuffer& buffer : buffers) {
    TANDEM_ASSIGN_OR_RETURN(buffer, NumaBuffer::Allocate(layout.expert_bytes()));
  }
  const LayerId layer{info.layer};
  FirstError error;
  team.ParallelFor(info.experts, 1, [&](int64_t begin, int64_t end, int worker) {
    const std::span<std::byte> bytes(buffers[worker].data(), layout.expert_bytes());
    for (auto e = static_cast<int32_t>(begin); e < end && error.ok(); ++e) {
      if (writer.Has({e}, bytes)) {
        kept_bytes += layout.expert_bytes();
      } else {
        absl::Status status = PackOne(checkpoint, reader, layer, {e}, layout,
                                      reinterpret_cast<uint8_t*>(bytes.data()));
        if (status.ok()) status = writer.Write({e}, bytes);
        error.Keep(std::move(status));
      }
      meter.Add(layout.expert_bytes());
    }
  });
  TANDEM_RETURN_IF_ERROR(error.Take());
  return writer.Finish();
}

}  // namespace tandem
