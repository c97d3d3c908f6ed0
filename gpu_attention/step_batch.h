// The tokens of one step: pieces of several sequences, each with its pages of latent cache.
#pragma once

#include <cstdint>
#include <span>

namespace tandem {

// Tokens per page of the latent cache.
inline constexpr int32_t kPageTokens = 64;

// Consecutive tokens of one sequence.
struct SequenceSlice {
  int32_t first_row = 0;           // row of its first token in the batch
  int32_t tokens = 0;              // how many rows
  int32_t kv_len = 0;              // tokens already cached before this step = position of the first
  std::span<const int32_t> pages;  // page ids; page i holds positions [64 i, 64 i + 64)
};

struct StepBatch {
  std::span<const int32_t> token_ids;        // [tokens], rows grouped by sequence
  std::span<const SequenceSlice> sequences;  // in row order, covering all rows
  // Where the second part of the rows begins, between two slices; 0: a single part.
  int32_t second_part_row = 0;
};

}  // namespace tandem
