// The kernels of kernels_simd.h for AVX-512 with VNNI.
#include "gpu_attention/host/simd_avx512.h"
// The vocabulary comes first.
#include "gpu_attention/host/kernels_simd.h"

#ifndef TANDEM_KERNEL_TABLE
#define TANDEM_KERNEL_TABLE kDenseTableAvx512
#endif

namespace tandem {
extern const DenseKernels TANDEM_KERNEL_TABLE;
constinit const DenseKernels TANDEM_KERNEL_TABLE = MakeDenseKernels("avx512_vnni");
}  // namespace tandem
