// The parts of the GPU bench. Each runs in a process of its own (gpu_bench_main.cpp), so one that
// crashes or hangs takes nothing along.
#pragma once

#include "bench/gpu/bench_context.h"

namespace tandem::TANDEM_GPU {

// What the device reaches: the rows that all others are held to.
absl::Status BenchRoofs(BenchContext& bench);
// MLA decode and prefill.
absl::Status BenchAttention(BenchContext& bench);
// Matrix products, norm, router, gate, sampling.
absl::Status BenchDense(BenchContext& bench);
// INT4 experts, few rows and many.
absl::Status BenchExperts(BenchContext& bench);
// The mailbox; experts sent over PCIe, alone and beside the CPU's kernels.
absl::Status BenchLink(BenchContext& bench);
// The dense side of a whole model, the experts answered at once.
absl::Status BenchDenseStack(BenchContext& bench);
// Decode steps of some layers in full width, hybrid and on the CPU alone.
absl::Status BenchHybrid(BenchContext& bench);

}  // namespace tandem::TANDEM_GPU
