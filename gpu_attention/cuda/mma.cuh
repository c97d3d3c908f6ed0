// Tensor-core products, matrix loads and asynchronous copies: the only inline PTX besides the clock
// in device.cuh. sm_80 and later. Emulated in gpu_attention/emulation/mma.h.
//
// Fragments of Mma16816 (PTX ISA, "Matrix Fragments for mma.m16n8k16"), lane = 4 g + t:
//   A [16 x 16]: a[0] = A[g][2t..], a[1] = A[g+8][2t..], a[2] = A[g][2t+8..], a[3] = A[g+8][2t+8..]
//   B [16 x 8]:  b[0] = B[2t..][g], b[1] = B[2t+8..][g]
//   D [16 x 8]:  d[0] = D[g][2t], d[1] = D[g][2t+1], d[2] = D[g+8][2t], d[3] = D[g+8][2t+1]
// where "[2t..]" are the two elements 2t (low half) and 2t+1 (high half).
#pragma once

#include "gpu_attention/cuda/device.cuh"

#ifdef TANDEM_GPU_EMULATED

#include "gpu_attention/emulation/mma.h"

#else

namespace tandem::TANDEM_GPU {

// D += A B, BF16 in, F32 out. All 32 lanes must call.
__device__ __forceinline__ void Mma16816(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8
// (16 bytes, 16-byte aligned) and gets, of matrix i, the elements [l / 4][2 (l % 4) ..] in r[i].
// Transposed: the elements [2 (l % 4) ..][l / 4].
__device__ __forceinline__ void LoadMatrix4(uint32_t (&r)[4], const bf16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void LoadMatrix4Transposed(uint32_t (&r)[4], const bf16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// Copies 16 bytes from global to shared memory in the background; zeros instead if not `valid`
// (then `from` is not read). Both 16-byte aligned.
template <class T>
__device__ __forceinline__ void CopyAsync16(T* to, const T* from, bool valid = true) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(from),
               "r"(bytes)
               : "memory");
}
// Closes the group of copies begun since the last call.
__device__ __forceinline__ void CopyAsyncCommit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
// Waits until at most `kPending` of this thread's groups are under way. What other threads copied
// is there after a __syncthreads() behind their own waits.
template <int kPending>
__device__ __forceinline__ void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

}  // namespace tandem::TANDEM_GPU

#endif
