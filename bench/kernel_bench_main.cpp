// The dot product of every kernel that this CPU runs, on one thread, by tokens per expert:
//   kernel mode tokens | GB/s of weights | GOPS | % of this machine's integer peak
// Weights rotate through `MiB` (default 4: out of L2; 2048 makes them cold), medians of 9 passes.
// Usage: kernel_bench [KERNEL [MODE [MiB]]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bench/roofline_table.h"
#include "core/memory.h"
#include "cpu_experts/kernel_choice.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kInputs = 7168;
constexpr int kStepTokens = 512;  // of a step, of which an expert gets some
constexpr int kGroups = kInputs / static_cast<int>(kGroupInputs);

double Seconds(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double PeakGops() {
  double best = 0.0;
  for (const RooflineTable* table :
       {&kAvx512VnniRooflineTable, &kAvxVnniRooflineTable, &kAvx2RooflineTable}) {
    if (!(DetectCpu().*table->required)) continue;
    for (int attempt = 0; attempt < 5; ++attempt) {
      const auto begin = Clock::now();
      const auto operations = static_cast<double>(table->int8_dots(2'000'000));
      best = std::max(best, operations / Seconds(begin) * 1e-9);
    }
    break;
  }
  return best;
}

struct Data {
  NumaBuffer weights;
  int64_t blocks = 0;  // of four panels
  std::vector<bf16> x;

  explicit Data(int64_t mib) {
    const int64_t block = 4 * PanelBytes(kInputs);
    blocks = std::max<int64_t>(1, (mib << 20) / block);
    weights = NumaBuffer::Allocate(blocks * block).value();
    std::mt19937_64 random(1);
    for (int64_t i = 0; i < blocks * block / 8; ++i) weights.as<uint64_t>()[i] = random();
    for (int64_t p = 0; p < 4 * blocks; ++p) {
      auto* scales = reinterpret_cast<bf16*>(weights.as<uint8_t>() + p * PanelBytes(kInputs) +
                                             PanelScaleOffset(kInputs));
      for (int64_t i = 0; i < kGroups * kPanelRows; ++i)
        scales[i] = ToBf16(0.001f * static_cast<float>(1 + random() % 8));
    }
    std::normal_distribution<float> normal;
    for (int i = 0; i < kStepTokens * kInputs; ++i) x.push_back(ToBf16(normal(random)));
  }
};

void Measure(const KernelTable& kernel, ExpertActivations activations, const Data& data,
             double peak) {
  const ModeKernels& mode = *kernel.mode(activations);
  const int64_t row_bytes = mode.RowBytes(kInputs);
  NumaBuffer rows = NumaBuffer::Allocate(kStepTokens * row_bytes).value();
  NumaBuffer work = NumaBuffer::Allocate(kSumsBytes + kScratchBytes).value();
  std::vector<const uint8_t*> x;
  for (int t = 0; t < kStepTokens; ++t) {
    mode.quantize(&data.x[t * kInputs], kGroups, rows.as<uint8_t>() + t * row_bytes);
    x.push_back(rows.as<uint8_t>() + t * row_bytes);
  }
  DotArgs args;
  args.panel_bytes = PanelBytes(kInputs);
  args.n_panels = 4;
  args.groups = args.n_groups = kGroups;
  args.sums = work.as<float>();
  args.scratch = work.as<uint8_t>() + kSumsBytes;
  for (int tokens : {1, 2, 3, 4, 6, 8, 12, 16, 32, 43, 64, 128}) {
    args.tokens = tokens;
    std::vector<double> seconds;
    int64_t block = 0;
    // Rows as the driver would hand them out: where the kernel asks for it, gathered, else
    // anywhere.
    const bool gathered = tokens >= mode.evenly_spaced_from;
    std::mt19937_64 random(tokens);
    std::vector<const uint8_t*> some = x;
    if (!gathered) std::shuffle(some.begin(), some.end(), random);
    args.x = some.data();
    args.x_stride = gathered ? row_bytes : 0;
    const int64_t calls = std::max<int64_t>(1, 128 / tokens);
    for (int pass = 0; pass < 11; ++pass) {
      const auto begin = Clock::now();
      for (int64_t call = 0; call < calls; ++call) {
        block = (block + 1) % data.blocks;
        args.panels = data.weights.as<uint8_t>() + block * 4 * args.panel_bytes;
        args.next = data.weights.as<uint8_t>() + (block + 1) % data.blocks * 4 * args.panel_bytes;
        mode.dot(args);
      }
      if (pass >= 2) seconds.push_back(Seconds(begin) / static_cast<double>(calls));
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2];
    const double gops = 2.0 * 64 * kInputs * tokens / median * 1e-9;
    std::printf("%-12s %-7s %4d | %6.2f GB/s | %7.1f GOPS | %5.1f %%  (best %5.1f %%)\n",
                kernel.name, NameOf(activations), tokens,
                4.0 * static_cast<double>(args.panel_bytes) / median * 1e-9, gops,
                100.0 * gops / peak, 100.0 * gops / peak * median / seconds.front());
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  const std::string kernel_name = argc > 1 ? argv[1] : "", mode_name = argc > 2 ? argv[2] : "";
  const Data data(argc > 3 ? std::stoll(argv[3]) : 4);
  const double peak = PeakGops();
  std::printf("integer peak of one thread: %.0f GOPS\n", peak);
  for (const KernelTable* kernel : AllKernels()) {
    if (!Runnable(*kernel) || (!kernel_name.empty() && kernel_name != kernel->name)) continue;
    if (kernel_name.empty() && kernel == &kReferenceTable) continue;
    for (ExpertActivations mode :
         {ExpertActivations::kInt8, ExpertActivations::kInt8x2, ExpertActivations::kBf16}) {
      if (kernel->mode(mode) == nullptr || (!mode_name.empty() && mode_name != NameOf(mode)))
        continue;
      Measure(*kernel, mode, data, peak);
    }
  }
}
