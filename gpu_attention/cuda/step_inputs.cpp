#include "gpu_attention/cuda/step_inputs.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "gpu_attention/rope.h"

namespace tandem::TANDEM_GPU {
namespace {

// Slices of up to this many tokens go through the absorbed form, as rows of their own. The naive
// form expands every cached key, 2 * 512 * 256 FLOP per key and head, against 2 * 1,088 - 640
// FLOP saved per query and key: it pays from about 180 queries on. Beyond 64 the absorbed form
// reads the cache too often.
constexpr int32_t kAbsorbedTokens = 64;
constexpr size_t kAlignment = 256;
constexpr int32_t kLeastPages = 16;

}  // namespace

absl::StatusOr<StepInputs> StepInputs::Create(const ModelShape& shape) {
  StepInputs inputs;
  inputs.frequencies_ = RopeFrequencies(shape);
  inputs.magnitude_ = RopeMagnitude(shape.yarn);
  inputs.pairs_ = shape.qk_rope_dim / 2;
  return inputs;
}

void StepInputs::Cut(const StepBatch& batch) {
  segments_.clear();
  all_single_rows_ = true;
  key_ = {.rows = static_cast<int32_t>(batch.token_ids.size()),
          .second_part_row = batch.second_part_row};
  size_t most_pages = kLeastPages;
  for (const SequenceSlice& slice : batch.sequences) {
    if (slice.tokens == 0) continue;
    all_single_rows_ = all_single_rows_ && slice.tokens == 1;
    most_pages = std::max(most_pages, slice.pages.size());
    const bool naive = slice.tokens > kAbsorbedTokens;
    const bool joins = !naive && !segments_.empty() && !segments_.back().naive &&
                       slice.first_row != batch.second_part_row;
    if (joins) {
      segments_.back().rows += slice.tokens;
    } else {
      segments_.push_back({slice.first_row, slice.tokens, key_.tables, naive, slice.kv_len});
    }
    key_.tables += naive ? 1 : slice.tokens;
  }
  key_.max_pages = static_cast<int32_t>(std::bit_ceil(most_pages));
}

StepInputs::Layout StepInputs::LayoutOf(const StepKey& key) const {
  Layout layout;
  size_t bytes = kAlignment;  // the step's number
  const auto take = [&bytes](size_t size) {
    const size_t offset = bytes;
    bytes += (size + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  };
  const size_t rows = key.rows, pairs = pairs_;
  layout.token_ids = take(rows * sizeof(int32_t));
  layout.slots = take(rows * sizeof(int32_t));
  layout.kv_len = take(rows * sizeof(int32_t));
  layout.cos = take(rows * pairs * sizeof(float));
  layout.sin = take(rows * pairs * sizeof(float));
  layout.pages = take(size_t(key.tables) * key.max_pages * sizeof(int32_t));
  layout.bytes = bytes;
  return layout;
}

absl::StatusOr<bool> StepInputs::Fill(const StepBatch& batch, uint32_t step) {
  Cut(batch);
  layout_ = LayoutOf(key_);
  bool grown = false;
  if (layout_.bytes > host_.bytes()) {
    const size_t bytes = std::bit_ceil(layout_.bytes);
    device_ = {};
    TANDEM_ASSIGN_OR_RETURN(host_, PinnedBuffer::Allocate(bytes, "step inputs"));
    TANDEM_ASSIGN_OR_RETURN(device_, DeviceBuffer::Allocate(bytes, "step inputs"));
    grown = true;
  }
  std::byte* const base = host_.data();
  const auto ints = [base](size_t offset) { return reinterpret_cast<int32_t*>(base + offset); };
  const auto floats = [base](size_t offset) { return reinterpret_cast<float*>(base + offset); };
  *reinterpret_cast<uint32_t*>(base) = step;
  std::ranges::copy(batch.token_ids, ints(layout_.token_ids));
  int32_t* table = ints(layout_.pages);
  for (const SequenceSlice& slice : batch.sequences) {
    for (int32_t i = 0; i < slice.tokens; ++i) {
      const int32_t row = slice.first_row + i, position = slice.kv_len + i;
      TANDEM_CHECK(position / kPageTokens < std::ssize(slice.pages),
                   "a slice's pages reach its last token");
      ints(layout_.slots)[row] =
          slice.pages[position / kPageTokens] * kPageTokens + position % kPageTokens;
      ints(layout_.kv_len)[row] = position + 1;
      RopeRow(frequencies_, magnitude_, position, floats(layout_.cos) + row * pairs_,
              floats(layout_.sin) + row * pairs_);
    }
    const int32_t tables = slice.tokens > kAbsorbedTokens ? 1 : slice.tokens;
    for (int32_t i = 0; i < tables; ++i, table += key_.max_pages)
      std::ranges::copy(slice.pages, table);
  }
  return grown;
}

void StepInputs::Send(Stream& stream) const {
  stream.CopyToDevice(device_.part<std::byte>(0, layout_.bytes), host_.data(), layout_.bytes);
}

}  // namespace tandem::TANDEM_GPU
