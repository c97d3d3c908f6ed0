#include "bench/gpu/parts.h"
#include "bench/gpu/probes.h"

namespace tandem::TANDEM_GPU {
namespace {

absl::Status Copying(BenchContext& bench) {
  const int64_t bytes = bench.Pick(int64_t{2} << 30, int64_t{1} << 16);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer from, bench.Random(bytes / 2));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer to, bench.Room<std::byte>(bytes));
  return bench.Time(2,
                    [&](Stream& s, int) {
                      s.CopyOnDevice<std::byte>(to.as<std::byte>(), from.as<std::byte>(), bytes);
                    },
                    {.what = kMemoryRoofRow, .shape = "copied", .bytes = 2.0 * bytes});
}

}  // namespace

absl::Status BenchRoofs(BenchContext& bench) {
  TANDEM_RETURN_IF_ERROR(bench.Add(MeasureReading(bench)));
  TANDEM_RETURN_IF_ERROR(Copying(bench));
  return bench.Add(MeasureProduct(bench));
}

}  // namespace tandem::TANDEM_GPU
