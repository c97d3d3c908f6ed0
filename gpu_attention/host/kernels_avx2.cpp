// The kernels of kernels_simd.h for AVX2 + FMA.
#include "gpu_attention/host/simd_avx2.h"
// The vocabulary comes first.
#include "gpu_attention/host/kernels_simd.h"

namespace tandem {
constinit const DenseKernels kDenseTableAvx2 = MakeDenseKernels("avx2");
}  // namespace tandem
