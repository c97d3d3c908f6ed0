#include "engine/checkpoint/expert_loader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/direct_file.h"
#include "core/log.h"

namespace tandem {
namespace {

// Below this share of a file in the page cache it is read past the cache.
constexpr double kMostlyCached = 0.5;

// Reads an expert of the same cut to where it is computed.
absl::Status ReadInPlace(const PackedLayer& image, const DirectFile& file, ExpertId expert,
                         VerifyExperts verify, CpuExperts& experts) {
  const LayerId layer{image.info().layer};
  for (int s = 0; s < image.layout().n_shards(); ++s) {
    const std::span<std::byte> block = experts.ShardMemory(layer, expert, s);
    TANDEM_RETURN_IF_ERROR(file.ReadAt(image.offset(expert) + image.layout().offset(s), block));
    if (verify != VerifyExperts::kOff) TANDEM_RETURN_IF_ERROR(image.Verify(expert, s, block));
  }
  experts.SetLoaded(layer, expert);
  return absl::OkStatus();
}

// An expert of another cut goes through the page cache.
absl::Status CutAnew(const PackedLayer& image, ExpertId expert, VerifyExperts verify,
                     CpuExperts& experts) {
  if (verify != VerifyExperts::kOff) TANDEM_RETURN_IF_ERROR(image.Verify(expert));
  TANDEM_RETURN_IF_ERROR(experts.LoadPackedExpert(image, expert, image.expert(expert)));
  image.file().Advise(image.expert(expert), /*will_need=*/false);
  return absl::OkStatus();
}

// Calls use(expert) for all experts, on all workers, until one fails.
template <class Use>
absl::Status ForEachExpert(const PackedLayer& image, WorkerTeam& team, Meter& meter, Use&& use) {
  FirstError error;
  team.ParallelFor(image.info().experts, 1, [&](int64_t begin, int64_t end, int) {
    for (auto e = static_cast<int32_t>(begin); e < end && error.ok(); ++e) {
      error.Keep(use(ExpertId{e}));
      meter.Add(image.layout().expert_bytes());
    }
  });
  return error.Take();
}

}  // namespace

absl::StatusOr<bool> MapsExperts(const Checkpoint& checkpoint, ExpertsMemory memory, int shards) {
  if (memory == ExpertsMemory::kCopy) return false;
  std::string why_not;
  if (checkpoint.packed() == nullptr) {
    why_not = " is not packed; write an image of it with tandem pack";
  } else if (checkpoint.packed()->shards != shards) {
    why_not =
        absl::StrCat(" has ", checkpoint.packed()->shards, " shards per expert, expected ", shards,
                     " as this machine has NUMA nodes; pack it with --shards ", shards);
  }
  if (why_not.empty()) return memory == ExpertsMemory::kMap || shards == 1;
  if (memory == ExpertsMemory::kAuto) return false;
  return absl::InvalidArgumentError(
      absl::StrCat("the experts of ", checkpoint.dir(), " cannot be mapped: it", why_not));
}

absl::Status MapPackedLayer(std::shared_ptr<const PackedLayer> image, VerifyExperts verify,
                            CpuExperts& experts, WorkerTeam& team, Meter& meter) {
  const int32_t n_experts = image->info().experts, ahead = 2 * team.size();
  const auto prefetch = [&](int32_t e) {
    if (e < n_experts) image->file().Advise(image->expert({e}), /*will_need=*/true);
  };
  for (int32_t e = 0; e < ahead; ++e) prefetch(e);
  TANDEM_RETURN_IF_ERROR(ForEachExpert(*image, team, meter, [&](ExpertId expert) {
    prefetch(expert.value + ahead);
    image->file().Populate(image->expert(expert));
    return verify == VerifyExperts::kFull ? image->Verify(expert) : absl::OkStatus();
  }));
  return experts.MapLayer(std::move(image), /*verified=*/verify != VerifyExperts::kLazy);
}

absl::Status CopyPackedLayer(const PackedLayer& image, VerifyExperts verify, CpuExperts& experts,
                             WorkerTeam& team, Meter& meter) {
  if (image.info().shards != experts.n_shards()) {
    return ForEachExpert(image, team, meter,
                         [&](ExpertId expert) { return CutAnew(image, expert, verify, experts); });
  }
  // What is cached is copied from there; what is not goes from the disk to its place, and no second
  // copy of the model fills the page cache.
  const bool direct = image.file().CachedFraction() < kMostlyCached;
  TANDEM_ASSIGN_OR_RETURN(const DirectFile file, DirectFile::Open(image.path(), direct));
  LogDebug("{}: read {}", image.path(), file.is_direct() ? "directly" : "through the page cache");
  return ForEachExpert(image, team, meter, [&](ExpertId expert) {
    return ReadInPlace(image, file, expert, verify, experts);
  });
}

}  // namespace tandem
