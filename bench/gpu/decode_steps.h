// Decode steps over sequences that share a prompt: which tokens, positions and pages.
#pragma once

#include <vector>

#include "core/model_shape.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

class DecodeSteps {
 public:
  // Prompt of prompt_pages pages; `rows` sequences then go on in a page of their own each.
  DecodeSteps(const ModelShape& shape, int32_t prompt_pages, int32_t rows);

  static int64_t PagesFor(int32_t prompt_pages, int32_t rows) { return prompt_pages + rows; }

  // The prompt's tokens, a step of at most `most` of them after the other; spans into the object.
  std::vector<StepBatch> Prompt(int32_t most);
  // One token per sequence, `step` places behind the prompt, step < kPageTokens. Valid until the
  // next call.
  StepBatch Step(int32_t step);
  const std::vector<int32_t>& all_rows() const { return all_rows_; }

 private:
  int32_t vocab_, prompt_tokens_;
  std::vector<std::vector<int32_t>> pages_;  // [rows]
  std::vector<int32_t> ids_, prompt_ids_, all_rows_;
  std::vector<SequenceSlice> slices_, prompt_slices_;
};

}  // namespace tandem
