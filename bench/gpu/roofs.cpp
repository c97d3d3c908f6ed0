#include "absl/strings/str_cat.h"
#include "bench/gpu/bench_kernels.h"
#include "bench/gpu/parts.h"
#include "gpu_attention/cuda/gemm.h"

namespace tandem::TANDEM_GPU {
namespace {

absl::Status Memory(BenchContext& bench) {
  const int64_t bytes = bench.Pick(int64_t{2} << 30, int64_t{1} << 16);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer from, bench.Random(bytes / 2));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer to, bench.Room<std::byte>(bytes));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer sink, bench.Room<uint32_t>(1));
  const ReadArgs args = {bytes / 4, from.as<uint32_t>(), sink.as<uint32_t>()};
  TANDEM_RETURN_IF_ERROR(
      bench.Time(2, [&](Stream& s, int) { ReadAll(s, args, bench.device().multiprocessors); },
                 {.what = kMemoryRoofRow, .shape = "read", .bytes = static_cast<double>(bytes)}));
  return bench.Time(2,
                    [&](Stream& s, int) {
                      s.CopyOnDevice<std::byte>(to.as<std::byte>(), from.as<std::byte>(), bytes);
                    },
                    {.what = kMemoryRoofRow, .shape = "copied", .bytes = 2.0 * bytes});
}

absl::Status TensorCores(BenchContext& bench) {
  const int32_t n = bench.Pick(8192, 32);
  const int64_t elems = int64_t{n} * n;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer w, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.Room<bf16>(elems));
  TANDEM_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Create(bench.stream()));
  return bench.Time(4,
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

}  // namespace

absl::Status BenchRoofs(BenchContext& bench) {
  TANDEM_RETURN_IF_ERROR(Memory(bench));
  return TensorCores(bench);
}

}  // namespace tandem::TANDEM_GPU
