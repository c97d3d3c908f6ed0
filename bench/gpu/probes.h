// What the bench and a calibration (bench/gpu/measure_gpu.h) both ask of a GPU. Each measures one
// thing and returns its row; nothing is added to a report.
#pragma once

#include <functional>
#include <span>

#include "bench/gpu/bench_context.h"
#include "core/sharded_layout.h"
#include "gpu_attention/cuda/expert_weights.h"

namespace tandem::TANDEM_GPU {

// Device memory, read once.
absl::StatusOr<GpuBenchRow> MeasureReading(BenchContext& bench);
// A large BF16 product.
absl::StatusOr<GpuBenchRow> MeasureProduct(BenchContext& bench);

// Experts of the bench's shape on the device, all alike, one behind the other.
struct ExpertPool {
  ShardedLayout layout;
  ExpertCuts cuts;
  int32_t experts = 0;
  DeviceBuffer bytes;

  static absl::StatusOr<ExpertPool> Create(BenchContext& bench, int32_t experts);
  Global<uint8_t> expert(int32_t e) const {
    return bytes.part<uint8_t>(e * layout.expert_bytes(), layout.expert_bytes());
  }
};
// One INT4 expert with m rows, always another one.
absl::StatusOr<GpuBenchRow> MeasureManyRows(BenchContext& bench, const ExpertPool& pool, int32_t m);

// A step of nothing but the mailbox, per layer: the GPU publishes, the CPU sees it and answers at
// once, the GPU adds the answer.
absl::StatusOr<GpuBenchRow> MeasureHandoff(BenchContext& bench, int32_t rows);

// Experts to the device, `rounds` times all of them, as streaming sends them; per expert. REQUIRES:
// page-locked bytes of that layout, or it is not the link that is measured. `meanwhile` as in
// BenchContext::MeasureRuns().
struct Sending {
  const ShardedLayout& layout;
  std::span<const ExpertShards> experts;
  int32_t rounds = 1;
  std::string shape, note;  // of the row
};
absl::StatusOr<GpuBenchRow> MeasureSending(BenchContext& bench, const Sending& what,
                                           const std::function<void()>& meanwhile = {});

}  // namespace tandem::TANDEM_GPU
