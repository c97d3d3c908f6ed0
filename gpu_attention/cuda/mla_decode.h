// Latent attention in absorbed form, straight from the paged cache: for decode, and for slices of a
// few tokens. For each row r (a token), head h and cached token s < kv_len[r]
//   score[r, h, s] = scale * (query[r, h, :] . cached[s, :])
//   out[r, h, :]   = sum_s softmax_s(score[r, h, s]) * cached[s, :latent]
//
// Bytes: (512 + 64) * 2 = 1,152 per cached token and row at K2.6's width, read once for all heads
// where 64 of them fit into shared memory. With 64 heads that is 121 FLOP per byte, so HBM is the
// bound on an H100 (mma.sync: 180 FLOP per byte), at 302 MB = 90 us for 8 rows of 32K tokens.
//
// A row's tokens are cut into n_splits ranges of pages, one block (per head group) each; a second
// kernel merges. The cut is made on the device from kv_len, so that a recorded graph stays right
// while kv_len grows. A row's bits depend on kv_len, n_splits and the shape, not on other rows.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: latent and rope multiples of 8, latent <= 512, latent + rope <= 576.
struct MlaDecodeArgs {
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t latent = 0, rope = 0;
  float scale = 0;
  int32_t n_splits = 1;                // see DecodeSplits
  int64_t shared_bytes_per_block = 0;  // of the device (DeviceProperties)
  Global<const bf16> query = nullptr;  // [rows, heads, latent + rope]
  Global<const bf16> cache = nullptr;  // the layer's [pages, kPageTokens, latent + rope]
  // [rows][max_pages], page i holds positions [64 i, 64 i + 64)
  Global<const int32_t> pages = nullptr;
  int64_t pages_row = 0;  // elements from row to row of `pages`
  // [rows] visible tokens, the row's own included; 0: zeros
  Global<const int32_t> kv_len = nullptr;
  Global<float> partial = nullptr;  // [rows, n_splits, heads, latent] workspace
  Global<float> lse = nullptr;      // [rows, n_splits, heads] workspace
  Global<bf16> out = nullptr;       // [rows, heads, latent]
};

void MlaDecode(Stream& stream, const MlaDecodeArgs& args);

// How many ranges to cut each row into, so that `multiprocessors` have work and none does much more
// than the others. `longest` is the largest kv_len that the launch will meet. For the same bits in
// batches of every size, use one number for all of them.
int32_t DecodeSplits(int32_t rows, int32_t heads, int64_t longest, int32_t multiprocessors,
                     int64_t shared_bytes_per_block);

struct DecodeWorkspace {
  int64_t partial_elems = 0, lse_elems = 0;
};
DecodeWorkspace DecodeWorkspaceFor(int32_t rows, int32_t n_splits, int32_t heads, int32_t latent);

}  // namespace tandem::TANDEM_GPU
