#include "bench/gpu/decode_steps.h"

#include <algorithm>
#include <numeric>

namespace tandem {

DecodeSteps::DecodeSteps(const ModelShape& shape, int32_t prompt_pages, int32_t rows)
    : vocab_(shape.vocab), prompt_tokens_(prompt_pages * kPageTokens), ids_(rows), all_rows_(rows) {
  std::iota(all_rows_.begin(), all_rows_.end(), 0);
  for (int32_t row = 0; row < rows; ++row) {
    std::vector<int32_t> pages(prompt_pages + 1);
    std::iota(pages.begin(), pages.end(), 0);
    pages.back() = prompt_pages + row;
    pages_.push_back(std::move(pages));
  }
  for (int32_t t = 0; t < prompt_tokens_; ++t)
    prompt_ids_.push_back(static_cast<int32_t>(t * 2654435761u % vocab_));
}

std::vector<StepBatch> DecodeSteps::Prompt(int32_t most) {
  prompt_slices_.clear();
  for (int32_t t = 0; t < prompt_tokens_; t += most)
    prompt_slices_.push_back({0, std::min(most, prompt_tokens_ - t), t, pages_[0]});
  std::vector<StepBatch> steps;
  for (const SequenceSlice& slice : prompt_slices_)
    steps.push_back(
        {{prompt_ids_.data() + slice.kv_len, static_cast<size_t>(slice.tokens)}, {&slice, 1}});
  return steps;
}

StepBatch DecodeSteps::Step(int32_t step) {
  slices_.clear();
  for (int32_t row = 0; row < static_cast<int32_t>(ids_.size()); ++row) {
    ids_[row] = static_cast<int32_t>((row * 40503u + step * 2654435761u) % vocab_);
    slices_.push_back({row, 1, prompt_tokens_ + step, pages_[row]});
  }
  return {ids_, slices_};
}

}  // namespace tandem
