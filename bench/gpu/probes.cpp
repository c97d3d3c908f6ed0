#include "bench/gpu/probes.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "bench/gpu/bench_kernels.h"
#include "bench/gpu/random_experts.h"
#include "gpu_attention/cuda/expert_prefill.h"
#include "gpu_attention/cuda/gemm.h"

namespace tandem::TANDEM_GPU {

absl::StatusOr<GpuBenchRow> MeasureReading(BenchContext& bench) {
  const int64_t bytes = bench.Pick(int64_t{2} << 30, int64_t{1} << 16);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer from, bench.Random(bytes / 2));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer sink, bench.Room<uint32_t>(1));
  const ReadArgs args = {bytes / 4, from.as<uint32_t>(), sink.as<uint32_t>()};
  return bench.Measure(
      2, [&](Stream& s, int) { ReadAll(s, args, bench.device().multiprocessors); },
      {.what = kMemoryRoofRow, .shape = "read", .bytes = static_cast<double>(bytes)});
}

absl::StatusOr<GpuBenchRow> MeasureProduct(BenchContext& bench) {
  const int32_t n = bench.Pick(8192, 32);
  const int64_t elems = int64_t{n} * n;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer w, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.Room<bf16>(elems));
  TANDEM_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Create(bench.stream()));
  return bench.Measure(4,
                       [&](Stream&, int) {
                         gemm.Linear({.rows = n,
                                      .outputs = n,
                                      .inputs = n,
                                      .x = x.as<bf16>(),
                                      .w = w.as<bf16>(),
                                      .y_bf16 = y.as<bf16>()});
                       },
                       {.what = kTensorRoofRow,
                        .shape = absl::StrCat("BF16 product, ", n, " cubed"),
                        .flops = 2.0 * elems * n});
}

absl::StatusOr<ExpertPool> ExpertPool::Create(BenchContext& bench, int32_t experts) {
  const ModelShape& s = bench.shape();
  ExpertPool pool;
  pool.experts = experts;
  pool.layout = ShardedLayout(s.hidden, s.expert_intermediate, 1);
  pool.cuts = CutsOf(pool.layout);
  const int64_t stride = pool.layout.expert_bytes();
  TANDEM_ASSIGN_OR_RETURN(pool.bytes, DeviceBuffer::Allocate(experts * stride, "experts"));
  const std::vector<uint8_t> expert = RandomExpert(pool.layout, 1);
  bench.stream().CopyToDevice(pool.expert(0), expert.data(), stride);
  for (int32_t e = 1; e < experts; ++e)
    bench.stream().CopyOnDevice<uint8_t>(pool.expert(e), pool.expert(0), stride);
  TANDEM_RETURN_IF_ERROR(bench.stream().Synchronize());
  return pool;
}

absl::StatusOr<GpuBenchRow> MeasureManyRows(BenchContext& bench, const ExpertPool& pool,
                                            int32_t m) {
  const ModelShape& s = bench.shape();
  std::vector<int32_t> rows(m);
  std::iota(rows.begin(), rows.end(), 0);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer device_rows, bench.Upload(rows));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer weights, bench.Upload(std::vector<float>(m, 0.125f)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(int64_t{m} * s.hidden));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer h,
                          bench.Room<bf16>(int64_t{m} * s.expert_intermediate));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.RandomFloats(int64_t{m} * s.hidden));
  const int64_t stride = pool.layout.expert_bytes();
  const int copies = std::min<int>(pool.experts, bench.ColdCopies(static_cast<double>(stride)));
  return bench.Measure(copies,
                       [&](Stream& stream, int i) {
                         ExpertPrefill(stream, {.m = m,
                                                .cuts = pool.cuts,
                                                .expert = pool.expert(i),
                                                .rows = device_rows.as<int32_t>(),
                                                .weights = weights.as<float>(),
                                                .x = x.as<bf16>(),
                                                .h = h.as<bf16>(),
                                                .y = y.as<float>()});
                       },
                       {.what = "one expert, INT4",
                        .shape = absl::StrCat("m = ", m),
                        .bytes = static_cast<double>(stride),
                        .flops = 6.0 * m * s.hidden * s.expert_intermediate,
                        .goal_percent = m == 512 ? 45.0 : 0.0});
}

}  // namespace tandem::TANDEM_GPU
