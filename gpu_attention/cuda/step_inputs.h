// What a step tells the device: tokens, positions, cache places. One block of pinned memory, filled
// by the CPU and sent in one copy; its layout depends on a few sizes only, so that a recorded graph
// can read the next step's from the same places.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/step_batch.h"

namespace tandem::TANDEM_GPU {

// Rows that attention takes in one go.
struct Segment {
  int32_t first_row = 0, rows = 0;
  int32_t table_row = 0;  // of the first row; in decode form every row has one
  bool naive = false;     // a long slice: keys expanded (mla_prefill.h); else absorbed
  int32_t kv_len = 0;     // naive: tokens cached before the slice
};

// Sizes that fix the layout.
struct StepKey {
  int32_t rows = 0;
  int32_t second_part_row = 0;
  int32_t tables = 0;     // rows of the page table
  int32_t max_pages = 0;  // a table row's length: a power of two
  auto operator<=>(const StepKey&) const = default;
};

class StepInputs {
 public:
  static absl::StatusOr<StepInputs> Create(const ModelShape& shape);

  // Fills the block. True if the memory had to grow: what was recorded before is then worthless.
  // Nothing of an earlier step may still be under way. Errors: RESOURCE_EXHAUSTED.
  absl::StatusOr<bool> Fill(const StepBatch& batch, uint32_t step);
  // Puts the copy to the device into the stream.
  void Send(Stream& stream) const;

  const StepKey& key() const { return key_; }
  // In row order, none across second_part_row.
  const std::vector<Segment>& segments() const { return segments_; }
  bool all_single_rows() const { return all_single_rows_; }  // one token per sequence: decode

  Global<const uint32_t> step() const { return At<uint32_t>(0, 1); }
  Global<const int32_t> token_ids() const { return At<int32_t>(layout_.token_ids, key_.rows); }
  Global<const int32_t> slots() const { return At<int32_t>(layout_.slots, key_.rows); }
  // Tokens a row sees, its own included.
  Global<const int32_t> kv_len() const { return At<int32_t>(layout_.kv_len, key_.rows); }
  Global<const float> cos() const { return At<float>(layout_.cos, key_.rows * pairs_); }
  Global<const float> sin() const { return At<float>(layout_.sin, key_.rows * pairs_); }
  // [tables, max_pages]
  Global<const int32_t> pages() const {
    return At<int32_t>(layout_.pages, int64_t{key_.tables} * key_.max_pages);
  }

 private:
  struct Layout {
    size_t token_ids = 0, slots = 0, kv_len = 0, cos = 0, sin = 0, pages = 0, bytes = 0;
  };
  void Cut(const StepBatch& batch);
  Layout LayoutOf(const StepKey& key) const;
  template <class T>
  Global<const T> At(size_t offset, int64_t count) const {
    return device_.part<T>(offset / sizeof(T), count);
  }

  std::vector<float> frequencies_;
  float magnitude_ = 1;
  int64_t pairs_ = 0;
  StepKey key_;
  Layout layout_;
  std::vector<Segment> segments_;
  bool all_single_rows_ = false;
  PinnedBuffer host_;
  DeviceBuffer device_;
};

}  // namespace tandem::TANDEM_GPU
