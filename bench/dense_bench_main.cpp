// The dense side's linear kernels against the machine: for a few tokens against the bandwidth that
// plain reading reaches in the same run, for many tokens in operations per second beside oneDNN's
// sgemm on F32 weights.
//
//   dense_bench [workers] [kernel]
//
// Weights are random and rotate through more memory than the caches hold. Medians of kRuns runs.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "bench/roofline.h"
#include "core/worker_team.h"
#include "gpu_attention/host/kernel_choice.h"
#include "gpu_attention/host/linear.h"
#include "gpu_attention/host/rows.h"

namespace tandem {
namespace {

constexpr int kRuns = 9;

double MedianUs(const std::function<void()>& body) {
  std::vector<double> us;
  body();
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
                     .count());
  }
  std::ranges::sort(us);
  return us[us.size() / 2];
}

struct Shape {
  const char* name;
  int32_t rows, cols;
};
constexpr Shape kShapes[] = {
    {"gate_up", 36864, 7168}, {"down", 7168, 18432}, {"q_b", 12288, 1536}, {"o_proj", 7168, 8192}};

uint32_t Hash(const View<float, 2>& y) {
  uint32_t hash = 0, bits;
  for (int64_t t = 0; t < y.dim(0); ++t)
    for (int64_t r = 0; r < y.dim(1); ++r) {
      std::memcpy(&bits, &y(t, r), 4);
      hash = hash * 31 + bits;
    }
  return hash;
}

void BenchLinear(const DenseKernels& kernels, WeightFormat format, const Shape& shape,
                 std::span<const int32_t> token_counts, double read_gb_per_s, WorkerTeam& team) {
  // At least 512 MiB of weights in rotation for the memory-bound cases.
  const int64_t one = int64_t{shape.rows} * shape.cols * (format == WeightFormat::kInt8 ? 1 : 2);
  const auto copies = static_cast<int32_t>(std::max<int64_t>(1, (int64_t{1} << 29) / one));
  std::vector<PackedMatrix> matrices;
  for (int32_t i = 0; i < copies; ++i) {
    matrices.push_back(*PackedMatrix::Allocate(format, shape.rows, shape.cols));
    const std::byte* data = matrices.back().panel(0, 0);
    team.ParallelFor(matrices[i].size_bytes() / 8, 1 << 16, [&](int64_t begin, int64_t end, int) {
      uint64_t state = begin * 0x9e3779b97f4a7c15u + i + 1;
      auto* words = reinterpret_cast<uint64_t*>(const_cast<std::byte*>(data));
      for (int64_t w = begin; w < end; ++w) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        words[w] = state & 0xbfffbfffbfffbfffu;  // finite as BF16 and as scales
      }
    });
  }
  for (int32_t tokens : token_counts) {
    RowBuffer x = *RowBuffer::Allocate(tokens, shape.cols);
    RowBuffer y = *RowBuffer::Allocate(tokens, matrices[0].padded_rows());
    ActivationBuffer buffer = *ActivationBuffer::Allocate(tokens, shape.cols);
    std::mt19937 random(tokens);
    for (int32_t t = 0; t < tokens; ++t)
      for (int32_t k = 0; k < shape.cols; ++k)
        x.row(t)[k] = static_cast<float>(random()) * 0x1p-31f - 1;
    const View<float, 2> out = y.Rows(tokens, shape.rows);
    size_t next = 0;
    const double us = MedianUs([&] {
      const PackedMatrix& w = matrices[next++ % matrices.size()];
      const LinearInput in = buffer.Prepare(kernels, format, x.Rows(tokens, shape.cols), &team);
      Linear(kernels, w, in, team, out);
    });
    const double gb_per_s = matrices[0].size_bytes() / us * 1e-3;
    std::printf(
        "%-12s %-4s %-8s %4d tokens %10.0f us  %6.1f GB/s (%3.0f %%)  %6.1f GFLOP/s  %08x\n",
        kernels.name, format == WeightFormat::kInt8 ? "int8" : "bf16", shape.name, tokens, us,
        gb_per_s, 100 * gb_per_s / read_gb_per_s, 2e-3 * tokens * shape.rows * shape.cols / us,
        Hash(out));
    std::fflush(stdout);
  }
}

// oneDNN's sgemm, single-threaded in every worker on its slice of the output columns.
void BenchSgemm(const Shape& shape, int32_t tokens, WorkerTeam& team) {
  constexpr int32_t kSlice = 512;
  std::vector<float> w(size_t(shape.rows) * shape.cols), x(size_t(tokens) * shape.cols),
      y(size_t(tokens) * shape.rows);
  std::mt19937 random(1);
  for (std::vector<float>* v : {&w, &x})
    for (float& value : *v) value = static_cast<float>(random()) * 0x1p-31f - 1;
  team.Run([](int) { omp_set_num_threads(1); });
  const double us = MedianUs([&] {
    team.ParallelFor(shape.rows / kSlice, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t s = begin; s < end; ++s)
        dnnl_sgemm('N', 'T', tokens, kSlice, shape.cols, 1.0f, x.data(), shape.cols,
                   w.data() + s * kSlice * shape.cols, shape.cols, 0.0f, y.data() + s * kSlice,
                   shape.rows);
    });
  });
  std::printf("onednn sgemm f32  %-8s %4d tokens %10.0f us %32.1f GFLOP/s  %g\n", shape.name,
              tokens, us, 2e-3 * tokens * shape.rows * shape.cols / us, y[7]);
}

int Main(int argc, char** argv) {
  WorkerTeam team({.workers = argc > 1 ? std::atoi(argv[1]) : 0, .spin_us = 1000});
  const auto chosen = ChooseDenseKernels(argc > 2 ? argv[2] : "");
  if (!chosen.ok()) {
    std::fprintf(stderr, "%s\n", chosen.status().ToString().c_str());
    return 1;
  }
  const auto roofline = MeasureRoofline(team);
  if (!roofline.ok()) {
    std::fprintf(stderr, "%s\n", roofline.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", roofline->ToText().c_str());
  const double read = roofline->read_gb_per_s;
  const int32_t few[] = {1, 2, 4, 8}, many[] = {64, 512};
  for (WeightFormat format : {WeightFormat::kInt8, WeightFormat::kBf16})
    for (const Shape& shape : kShapes) BenchLinear(**chosen, format, shape, few, read, team);
  for (WeightFormat format : {WeightFormat::kInt8, WeightFormat::kBf16})
    BenchLinear(**chosen, format, kShapes[3], many, read, team);
  BenchSgemm(kShapes[3], 512, team);
  return 0;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) { return tandem::Main(argc, argv); }
