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

// Copies contiguous rows from global memory into swizzled ones in the background. The threads take
// neighbouring pieces; who takes which is worked out once.
template <int kThreads>
class RowCopier {
 public:
  __device__ RowCopier(int dim, int row_elems)
      : row_elems_(row_elems),
        pieces_(dim / kPieceElems),
        row_(static_cast<int>(threadIdx.x) / pieces_),
        piece_(static_cast<int>(threadIdx.x) % pieces_),
        row_step_(kThreads / pieces_),
        piece_step_(kThreads % pieces_) {}

  // Rows from `valid` on become zeros. from [valid, dim], 16-byte aligned.
  template <int kRows>
  __device__ __forceinline__ void Copy(Shared<bf16> to, Global<const bf16> from, int valid) const {
    int row = row_, piece = piece_;
    for (int i = static_cast<int>(threadIdx.x); row < kRows; i += kThreads) {
      CopyAsync16(to + SwizzledPiece(row, piece, row_elems_), from + int64_t{i} * kPieceElems,
                  row < valid);
      row += row_step_;
      piece += piece_step_;
      if (piece >= pieces_) {
        piece -= pieces_;
        ++row;
      }
    }
  }

  // Fills up what Copy leaves of `rows` rows.
  __device__ void ZeroRest(Shared<bf16> to, int rows) const {
    const int rest = row_elems_ / kPieceElems - pieces_;
    for (int i = static_cast<int>(threadIdx.x); i < rows * rest; i += kThreads)
      StoreAs(to + SwizzledPiece(i / rest, pieces_ + i % rest, row_elems_), uint4{0, 0, 0, 0});
  }

 private:
  int row_elems_, pieces_, row_, piece_, row_step_, piece_step_;
};

}  // namespace tandem::TANDEM_GPU
