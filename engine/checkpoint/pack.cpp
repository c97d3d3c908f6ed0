#include "engine/checkpoint/pack.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "engine/checkpoint/output_file.h"
#include "engine/checkpoint/pack_dense.h"
#include "engine/checkpoint/pack_experts.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxDenseFileBytes = int64_t{2} << 30;

// One process at a time packs into a folder. Released when the process ends, however it ends.
class FolderLock {
 public:
  static absl::StatusOr<FolderLock> Take(const std::string& dir) {
    FolderLock lock;
    lock.fd_ = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock.fd_ < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", dir));
    if (flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno == EWOULDBLOCK)
      return absl::AbortedError(absl::StrCat("another tandem pack is writing ", dir));
    LogDebug("{} cannot be locked", dir);  // some network file systems know no locks
    return lock;
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FolderLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  FolderLock() = default;
  int fd_ = -1;
};

absl::Status PrepareFolder(const std::string& model, const std::string& out) {
  std::error_code error;
  if (fs::exists(out, error) && fs::equivalent(model, out, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(out, " is the checkpoint itself; give another folder for the packed image"));
  }
  fs::create_directories(out, error);
  if (!fs::is_directory(out, error))
    return absl::NotFoundError(absl::StrCat("cannot make the folder ", out, ": ",
                                            error ? error.message() : "it is not a folder"));
  const bool unfinished = fs::exists(absl::StrCat(out, "/", kManifestName), error) ||
                          fs::exists(PartName(absl::StrCat(out, "/", kManifestName)), error);
  if (!unfinished && !fs::is_empty(out, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        out, " is not empty and holds no packed image; give a new folder for the packed image"));
  }
  if (access(out.c_str(), W_OK | X_OK) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write into ", out));
  return absl::OkStatus();
}

// The image that is there must be of the same checkpoint and cut.
absl::Status CheckSameImage(const std::string& out, const PackedManifest& found,
                            const PackedManifest& wanted) {
  if (found.source != wanted.source) {
    return absl::FailedPreconditionError(absl::StrCat(
        out, " was packed from another checkpoint, or the checkpoint changed since: fingerprint ",
        HexText(found.source), ", now ", HexText(wanted.source), "; remove ", out,
        " or give another folder"));
  }
  if (found.shards == wanted.shards) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(out, " holds an image of ", found.shards, " shards per expert, asked for are ",
                   wanted.shards, "; remove it or give another folder"));
}

absl::Status WriteManifest(const std::string& dir, const PackedManifest& manifest) {
  const std::string text = manifest.ToJson();
  TANDEM_RETURN_IF_ERROR(
      WriteWholeFile(absl::StrCat(dir, "/", kManifestName), std::as_bytes(std::span(text))));
  return SyncFolder(dir);
}

int64_t DiskBytes(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? int64_t{info.st_blocks} * 512 : 0;
}

// What is to be written, as far as it is known before: sizes and places.
struct Plan {
  PackedManifest manifest;
  std::vector<PackedLayerInfo> layers;
  std::vector<DenseFile> dense;
  std::string out;

  std::string LayerPath(const PackedLayerInfo& info) const {
    return absl::StrCat(out, "/", PackedLayerName(info.layer));
  }
  int64_t ExpertBytes() const {
    int64_t sum = 0;
    for (const auto& info : layers) sum += info.experts * info.layout().expert_bytes();
    return sum;
  }
  int64_t DenseBytes() const {
    int64_t sum = 0;
    for (const DenseFile& file : dense)
      sum += file.bytes - static_cast<int64_t>(file.header.size());
    return sum;
  }
  // Without what an earlier run left.
  int64_t BytesToWrite() const {
    int64_t sum = 0;
    const auto add = [&sum](const std::string& path, int64_t bytes) {
      sum += std::max<int64_t>(0, bytes - DiskBytes(path) - DiskBytes(PartName(path)));
    };
    for (const auto& info : layers) add(LayerPath(info), PackedFileBytes(info));
    for (const DenseFile& file : dense) add(absl::StrCat(out, "/", file.name), file.bytes);
    return sum;
  }
};

absl::Status CheckSpace(const Plan& plan) {
  struct statvfs disk;
  if (statvfs(plan.out.c_str(), &disk) != 0) return absl::OkStatus();  // it may still work
  const auto free_bytes = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  const int64_t needed = plan.BytesToWrite();
  if (needed <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(plan.out, " needs ", BytesText(needed), " more and its disk has ",
                   BytesText(free_bytes), " free; make room or give a folder on another disk"));
}

absl::StatusOr<Plan> MakePlan(const Checkpoint& checkpoint, const WeightReader& reader,
                              const PackOptions& options) {
  Plan plan;
  plan.out = options.out_dir;
  plan.manifest.shards = options.shards;
  TANDEM_ASSIGN_OR_RETURN(plan.manifest.source, FingerprintOf(checkpoint));
  const ModelShape& shape = checkpoint.config().shape;
  if (shape.moe_layers() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint.dir(), " has no routed experts: there is nothing to pack"));
  }
  for (int32_t l = shape.dense_layers; l < shape.layers; ++l) {
    plan.layers.push_back(PackedInfoOf(shape, l, plan.manifest));
    TANDEM_RETURN_IF_ERROR(CheckPackedInfo(plan.layers.back()));
  }
  plan.dense = PlanDenseFiles(checkpoint, reader, kMaxDenseFileBytes);
  return plan;
}

// Weights must be as they were written; configuration and tokenizer may be edited.
absl::Status VerifyFile(const std::string& dir, const PackedFile& file, Meter& meter) {
  const std::string path = absl::StrCat(dir, "/", file.name);
  const auto found = MappedFile::Open(path);
  const bool is_weights = file.name.ends_with(".safetensors");
  const std::string now = found.ok() ? HexText(HashOf(found->bytes())) : "none";
  if (is_weights) meter.Add(file.bytes);
  if (now == HexText(file.hash)) return absl::OkStatus();
  if (is_weights)
    return absl::DataLossError(absl::StrCat(path, " is damaged: its checksum is ", now,
                                            ", expected ", HexText(file.hash),
                                            "; remove it and run tandem pack again"));
  LogWarning("{} is {} since it was packed", path, found.ok() ? "changed" : "gone");
  return absl::OkStatus();
}

// A finished image whose files are all there with their sizes. Damage in the data is for
// VerifyImage() to find.
bool IsComplete(const std::string& out) {
  const auto manifest = ReadManifest(out);
  return manifest.ok() && manifest->has_value() && (*manifest)->complete &&
         Checkpoint::Open(out).ok();
}

}  // namespace

absl::StatusOr<PackReport> PackModel(const PackOptions& options, WorkerTeam& team,
                                     const ProgressFn& progress) {
  TANDEM_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(options.model_dir));
  const WeightReader reader(*checkpoint);
  TANDEM_RETURN_IF_ERROR(reader.CheckComplete().status());
  TANDEM_ASSIGN_OR_RETURN(Plan plan, MakePlan(*checkpoint, reader, options));
  TANDEM_RETURN_IF_ERROR(PrepareFolder(options.model_dir, options.out_dir));
  TANDEM_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(options.out_dir));
  TANDEM_ASSIGN_OR_RETURN(const auto found, ReadManifest(options.out_dir));
  if (found) TANDEM_RETURN_IF_ERROR(CheckSameImage(options.out_dir, *found, plan.manifest));
  PackReport report;
  report.expert_bytes = plan.ExpertBytes();
  if (IsComplete(options.out_dir)) {
    report.was_complete = true;
    report.kept_bytes = report.expert_bytes;
    return report;
  }
  TANDEM_RETURN_IF_ERROR(CheckSpace(plan));
  TANDEM_RETURN_IF_ERROR(WriteManifest(options.out_dir, plan.manifest));

  Meter meter(plan.ExpertBytes() + plan.DenseBytes(), progress);
  std::atomic<int64_t> kept_bytes{0};
  for (const PackedLayerInfo& info : plan.layers)
    TANDEM_RETURN_IF_ERROR(
        PackLayer(*checkpoint, reader, info, plan.LayerPath(info), team, meter, kept_bytes));
  TANDEM_ASSIGN_OR_RETURN(plan.manifest.files,
                          WriteDenseSide(*checkpoint, plan.dense, options.out_dir, team, meter));
  TANDEM_RETURN_IF_ERROR(SyncFolder(options.out_dir));
  plan.manifest.complete = true;
  TANDEM_RETURN_IF_ERROR(WriteManifest(options.out_dir, plan.manifest));
  report.kept_bytes = kept_bytes;
  return report;
}

absl::Status VerifyImage(const std::string& dir, WorkerTeam& team, const ProgressFn& progress) {
  TANDEM_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  if (checkpoint->packed() == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " is not a packed image: it holds no ", kManifestName));
  }
  const PackedManifest& manifest = *checkpoint->packed();
  const ModelShape& shape = checkpoint->config().shape;
  Meter meter(checkpoint->total_bytes(), progress);
  for (int32_t l = shape.dense_layers; l < shape.layers; ++l)
    TANDEM_RETURN_IF_ERROR(VerifyLayer(*checkpoint->packed_layer(l), team, meter));
  FirstError error;
  team.ParallelFor(static_cast<int64_t>(manifest.files.size()), 1,
                   [&](int64_t i, int64_t end, int) {
                     for (; i < end && error.ok(); ++i)
                       error.Keep(VerifyFile(dir, manifest.files[i], meter));
                   });
  return error.Take();
}

}  // namespace tandem
