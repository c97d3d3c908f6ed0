// Logits -> token, on the device, with the rules of engine/sampler.h: tokens in one order (larger
// logit first, lower id first among equals); temperature, top_k, top_p, min_p as cuts in that
// order; a draw that walks the kept tokens by ascending id. The row's maximum if temperature <
// 1e-5. Bias and penalties, if any, are in the logits already.
//
// One block per row; nothing is sorted: cuts are found by bisection. Bytes: 4 vocab per pass, from
// L2 after the first; greedy takes 2 passes, a row whose cuts keep a few thousand tokens at most
// takes
// 4. At K2.6's vocabulary a pass is 655 KB, about 6 us for one SM. A row without such a cut draws
// from the whole vocabulary: about 3 more passes; a nearly flat one with top_p or a large top_k
// takes 30 to 60 more. Sums are of integers: the same row gives the same token on every run.
#pragma once

#include <cstdint>

#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/row_sampling.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: vocab <= 2^20.
struct SamplingArgs {
  int32_t rows = 0;
  int32_t vocab = 0;
  Global<const float> logits = nullptr;     // [rows][vocab]
  int64_t logits_row = 0;                   // elements from row to row; 0: vocab
  Global<const RowSampling> how = nullptr;  // [rows]; null: greedy for all
  Global<int32_t> ids = nullptr;            // [rows]; -1 if a logit is not finite
  Global<float> logprobs = nullptr;  // [rows] ln softmax(logits)[id], before temperature and cuts
};

void SampleTokens(Stream& stream, const SamplingArgs& args);

}  // namespace tandem::TANDEM_GPU
