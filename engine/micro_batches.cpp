#include "engine/micro_batches.h"

#include <algorithm>
#include <bit>

namespace tandem {

int MicroBatchTuner::BucketOf(int32_t rows) { return std::bit_width(static_cast<uint32_t>(rows)); }

int MicroBatchTuner::PartsFor(int32_t rows) const {
  if (rows < 2 || policy_ == MicroBatches::kOff) return 1;
  if (policy_ == MicroBatches::kOn) return 2;
  const Bucket& bucket = buckets_[BucketOf(rows)];
  if (bucket.decided != 0) return bucket.decided;
  return bucket.steps[0] < kTrial ? 1 : 2;
}

void MicroBatchTuner::Note(int32_t rows, int parts, double seconds) {
  if (rows < 2 || policy_ != MicroBatches::kAuto) return;
  Bucket& bucket = buckets_[BucketOf(rows)];
  if (bucket.decided != 0) {
    if (++bucket.since == kDecisionHolds) bucket = {};
    return;
  }
  const double per_row = seconds / rows;
  double& fastest = bucket.fastest[parts - 1];
  fastest = bucket.steps[parts - 1]++ == 0 ? per_row : std::min(fastest, per_row);
  if (std::ranges::min(bucket.steps) >= kTrial)
    bucket.decided = bucket.fastest[1] < bucket.fastest[0] ? 2 : 1;
}

}  // namespace tandem
