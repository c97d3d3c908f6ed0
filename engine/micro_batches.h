// Whether a decode step goes through the layers in one part or in two. Two overlap the GPU's
// attention of one with the CPU's experts of the other, but read an expert twice that both need:
// which is faster depends on machine, model, batch and context, so it is measured.
#pragma once

#include <array>
#include <cstdint>

namespace tandem {

enum class MicroBatches { kAuto, kOff, kOn };

class MicroBatchTuner {
 public:
  explicit MicroBatchTuner(MicroBatches policy) : policy_(policy) {}

  // 1 or 2, for a step of so many decode rows.
  int PartsFor(int32_t rows) const;
  // What a step took.
  void Note(int32_t rows, int parts, double seconds);

  static constexpr int kTrial = 8;            // steps of a kind that a decision rests on
  static constexpr int kDecisionHolds = 512;  // steps until both are tried again

 private:
  // Of batches between two powers of two.
  struct Bucket {
    std::array<int, 2> steps{};       // of one part, of two, in this trial
    std::array<double, 2> fastest{};  // seconds per row; a step may be slow by accident, never fast
    int decided = 0;                  // 0: still trying
    int since = 0;                    // steps since the decision
  };
  static int BucketOf(int32_t rows);

  const MicroBatches policy_;
  std::array<Bucket, 32> buckets_;
};

}  // namespace tandem
