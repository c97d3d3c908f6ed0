// Rows of BF16 in shared memory, stored so that a matrix load (mma.cuh: the same 16 bytes of eight
// neighbouring rows) meets every bank once. A row consists of pieces of 16 bytes; eight of them
// fill the banks. Piece p of row r lies where p ^ (r mod 8) would.
#pragma once

#include "gpu_attention/cuda/mma.cuh"

namespace tandem::TANDEM_GPU {

constexpr int kPieceElems = 8;

// Elements of a row that holds `elems`: whole groups of eight pieces.
constexpr int SwizzledRow(int elems) { return (elems + 63) / 64 * 64; }

// Where a piece begins. row_elems: a multiple of 64.
__device__ __forceinline__ int SwizzledPiece(int row, int piece, int row_elems) {
  return row * row_elems + (piece ^ (row & 7)) * kPieceElems;
}

// The same for rows of 16, 32 or 64 elements: several rows fill the banks together.
template <int kRowElems>
__device__ __forceinline__ int SwizzledShortPiece(int row, int piece) {
  constexpr int kPieces = kRowElems / kPieceElems, kRowsPerLine = 8 / kPieces;
  return row * kRowElems + (piece ^ (row / kRowsPerLine % kPieces)) * kPieceElems;
}

// Copies rows of `dim` elements, contiguous in global memory and 16-byte aligned, into swizzled
// ones in the background, a warp a row. Rows from `valid` on become zeros. REQUIRES: dim <=
// kMaxDim.
template <int kRows, int kThreads, int kMaxDim>
__device__ __forceinline__ void CopyRows(Shared<bf16> to, int row_elems, Global<const bf16> from,
                                         int dim, int valid) {
  constexpr int kWarps = kThreads / 32;
  static_assert(kRows % kWarps == 0);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1  // unrolled, it would keep registers that the callers need
  for (int i = 0; i < kRows / kWarps; ++i) {
    const int row = warp + i * kWarps;
#pragma unroll
    for (int first = 0; first < kMaxDim / kPieceElems; first += 32) {
      const int piece = first + lane;
      if (piece * kPieceElems >= dim) continue;
      CopyAsync16(to + SwizzledPiece(row, piece, row_elems),
                  from + (int64_t{row} * dim + piece * kPieceElems), row < valid);
    }
  }
}

// Zeros in the columns from `dim` on.
template <int kThreads>
__device__ __forceinline__ void ZeroRest(Shared<bf16> to, int row_elems, int dim, int rows) {
  const int rest = (row_elems - dim) / kPieceElems;
  for (int i = static_cast<int>(threadIdx.x); i < rows * rest; i += kThreads) {
    StoreAs(to + SwizzledPiece(i / rest, dim / kPieceElems + i % rest, row_elems),
            uint4{0, 0, 0, 0});
  }
}

}  // namespace tandem::TANDEM_GPU
