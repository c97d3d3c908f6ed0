// Who computes an expert of a step of many tokens: the CPU, where it lies, or the GPU, once its
// bytes were sent over. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

// Seconds that one expert takes.
struct SplitCosts {
  double cpu_expert_s = 0;  // reading its weights once from RAM
  double cpu_row_s = 0;     // computing one row
  double send_s = 0;        // its bytes to the GPU
  double gpu_row_s = 0;

  // max(read, compute): the CPU overlaps them.
  double CpuSeconds(int64_t rows) const {
    return rows == 0 ? 0 : cpu_expert_s > cpu_row_s * rows ? cpu_expert_s : cpu_row_s * rows;
  }
};

struct PrefillSplit {
  std::vector<int32_t> streamed;  // places in `rows`, heaviest first
  double cpu_s = 0, gpu_s = 0;    // predicted; what the GPU has to do anyway is included
};

// rows[i]: rows of the i-th cold expert. The experts with most rows go to the GPU first, one by one
// as long as that makes the slower side's end earlier, so both finish together. Each costs the
// GPU max(send, compute); gpu_busy_s is what it does besides.
PrefillSplit SplitPrefill(std::span<const int32_t> rows, const SplitCosts& costs,
                          double gpu_busy_s);

}  // namespace tandem
