#include "placement/prefill_split.h"

#include <algorithm>
#include <numeric>

namespace tandem {

PrefillSplit SplitPrefill(std::span<const int32_t> rows, const SplitCosts& costs,
                          double gpu_busy_s) {
  std::vector<int32_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return rows[a] > rows[b]; });
  PrefillSplit split;
  split.gpu_s = gpu_busy_s;
  for (const int32_t n : rows) split.cpu_s += costs.CpuSeconds(n);
  for (const int32_t i : order) {
    const double cpu = split.cpu_s - costs.CpuSeconds(rows[i]);
    const double gpu = split.gpu_s + std::max(costs.send_s, costs.gpu_row_s * rows[i]);
    if (rows[i] == 0 || std::max(cpu, gpu) >= std::max(split.cpu_s, split.gpu_s)) break;
    split.cpu_s = cpu;
    split.gpu_s = gpu;
    split.streamed.push_back(i);
  }
  return split;
}

}  // namespace tandem
