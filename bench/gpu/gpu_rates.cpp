#include "bench/gpu/gpu_rates.h"

#include <algorithm>

#include "bench/gpu/probes.h"
#include "bench/gpu/random_experts.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int32_t kManyRows = 512;  // of an expert, as of a prompt's slice of 24,576 rows
constexpr int32_t kHandedRows = 1;  // what more rows take is the link's

absl::Status MeasureDevice(BenchContext& bench, GpuSpec& spec) {
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow reading, MeasureReading(bench));
  spec.hbm_gb_per_s = reading.gb_per_s();
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow product, MeasureProduct(bench));
  spec.bf16_tflops = product.tflop_per_s();
  const ShardedLayout layout(bench.shape().hidden, bench.shape().expert_intermediate, 1);
  TANDEM_ASSIGN_OR_RETURN(
      const ExpertPool pool,
      ExpertPool::Create(bench, bench.ColdCopies(static_cast<double>(layout.expert_bytes()))));
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow experts,
                          MeasureManyRows(bench, pool, bench.Pick(kManyRows, 33)));
  spec.int4_tflops = experts.tflop_per_s();
  return absl::OkStatus();
}

// Page-locked experts, more than the CPU's caches hold.
struct PinnedExperts {
  ShardedLayout layout;
  PinnedBuffer memory;
  std::vector<ExpertShards> experts;

  static absl::StatusOr<PinnedExperts> Create(BenchContext& bench) {
    PinnedExperts pinned;
    pinned.layout = ShardedLayout(bench.shape().hidden, bench.shape().expert_intermediate, 1);
    const int64_t bytes = pinned.layout.expert_bytes();
    const int count = bench.ColdCopies(static_cast<double>(bytes));
    TANDEM_ASSIGN_OR_RETURN(pinned.memory, PinnedBuffer::Allocate(count * bytes, "experts"));
    const std::vector<uint8_t> expert = RandomExpert(pinned.layout, 1);
    for (int e = 0; e < count; ++e) {
      const std::span<std::byte> to(pinned.memory.data() + e * bytes, bytes);
      std::ranges::copy(std::as_bytes(std::span(expert)), to.begin());
      pinned.experts.push_back({to});
    }
    return pinned;
  }
};

// The CPU's load is put on last: before it nobody works but the measuring thread.
absl::Status MeasureLink(BenchContext& bench, const std::function<void()>& cpu_load,
                         GpuSpec& spec) {
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow handoff, MeasureHandoff(bench, kHandedRows));
  spec.handoff_us = handoff.us;
  TANDEM_ASSIGN_OR_RETURN(const PinnedExperts pinned, PinnedExperts::Create(bench));
  // Long enough for many turns of the load: 2 GB, 40 ms at 55 GB/s.
  const Sending sending = {
      .layout = pinned.layout, .experts = pinned.experts, .rounds = bench.Pick(4, 1)};
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow alone, MeasureSending(bench, sending));
  spec.pcie_gb_per_s = alone.gb_per_s();
  if (!cpu_load) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(const GpuBenchRow beside, MeasureSending(bench, sending, cpu_load));
  spec.pcie_beside_cpu_gb_per_s = beside.gb_per_s();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GpuSpec> MeasureGpuRates(const GpuMeasureOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(BenchContext bench,
                          BenchContext::Create(options.quick, [](const GpuBenchRow&) {}));
  GpuSpec spec;
  spec.name = bench.device().name;
  spec.memory_bytes = bench.device().memory_bytes;
  TANDEM_RETURN_IF_ERROR(MeasureDevice(bench, spec));
  TANDEM_RETURN_IF_ERROR(MeasureLink(bench, options.cpu_load, spec));
  return spec;
}

}  // namespace tandem::TANDEM_GPU
