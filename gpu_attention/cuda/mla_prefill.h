// Latent attention in naive form, for chunks of a prompt: keys and values are expanded per head
// first, which costs a product per key but less per (query, key) pair than the absorbed form. One
// sequence's slice, a block of keys at a time, the softmax's state in F32 between blocks:
//
//   for (begin = 0; begin < kv_len + tokens; begin += len)       keys in ascending order
//     GatherLatents: latents[j, :] = cache of position begin + j         j < len
//     kv = latents[:, :latent] x kv_b^T  (gemm.h, x_row = latent + rope) [len, heads, nope + v]
//     MlaPrefill with first = (begin == 0), last = (begin + len == kv_len + tokens)
//
// q's rotary part is rotated in place before (RotateQuery). The slice's own tokens must be in the
// cache already (LatentWrite). Query t stands at position kv_len + t and sees positions up to that.
//
// Work per (query, key, head): 2 * (nope + rope + v) = 640 FLOP at K2.6's width, on tensor cores. A
// block of 128 queries reads (nope + rope + v) * 2 bytes per key, mostly from L2: 128 FLOP per
// byte. The bound is tensor cores (mma.sync) together with reads of shared memory.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

// REQUIRES: dim a multiple of 8; the pages of [begin, begin + len) are in the table.
struct GatherLatentsArgs {
  int32_t begin = 0, len = 0;             // positions
  int32_t dim = 0;                        // latent + rope
  Global<const int32_t> pages = nullptr;  // the sequence's table, from position 0 on
  Global<const bf16> cache = nullptr;     // the layer's [pages, kPageTokens, dim]
  Global<bf16> out = nullptr;             // [len, dim]
};

void GatherLatents(Stream& stream, const GatherLatentsArgs& args);

// REQUIRES: nope, rope and v multiples of 4 (multiples of 8 are loaded faster), nope + rope <= 192,
// v <= 128; blocks come in order, from position 0 on, to the last token of the slice.
struct MlaPrefillArgs {
  int32_t tokens = 0;  // of the slice
  int32_t kv_len = 0;  // position of its first token
  int32_t heads = 0;
  int32_t nope = 0, rope = 0, v = 0;
  float scale = 0;
  int32_t begin = 0, len = 0;         // the block's positions
  bool first = false, last = false;   // block of the slice
  Global<const bf16> q = nullptr;     // [tokens, heads, nope + rope], the tail rotated
  Global<const bf16> kv = nullptr;    // [len, heads, nope + v]
  Global<const bf16> k_pe = nullptr;  // [len][rope], tails of the gathered latents
  int64_t k_pe_row = 0;               // elements from key to key
  // Workspace, kept from block to block; not touched if first and last.
  Global<float> acc = nullptr;  // [tokens, heads, v]
  Global<float> max = nullptr;  // [tokens, heads]
  Global<float> sum = nullptr;  // [tokens, heads]
  Global<bf16> out = nullptr;   // [tokens, heads, v], written by the last block
};

void MlaPrefill(Stream& stream, const MlaPrefillArgs& args);

}  // namespace tandem::TANDEM_GPU
