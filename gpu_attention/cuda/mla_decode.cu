// One block: one row, kHeads heads, a range of pages, kTokens of it at a time.
//
//   shared memory   query [kHeads, dim]; kStages x tokens [kTokens, dim]; p [kHeads, kTokens]
//   scores          a warp ends up with 16 heads x kTokens / kWarpsN tokens; operands by ldmatrix
//   softmax         online; a head's maximum over a tile is agreed on through shared memory
//   sum             a warp owns all heads x 512 / kWarps latent columns, in registers; p is the A
//                   operand, the same tokens, transposed on loading, are the B operand
//
// Per 64 tokens on an SM of an H100 (variant Large, K2.6's width; by arithmetic, not timed): 74 KB
// take 2.9 us at the SM's share of HBM. Beside that, one after another: scores 1.5 us (330 KB
// through shared memory at 128 bytes a clock), softmax 0.4 us, sum 1.0 us (1,024 mma at the 60 % of
// peak that mma.sync reaches). The two are about even: 3.0 to 3.8 us, so 8 rows of 32K tokens take
// 105 to 130 us with start and merge, 70 to 85 % of HBM.
#include "gpu_attention/cuda/mla_decode.h"

#include <algorithm>
#include <limits>

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/mla_decode_merge.h"
#include "gpu_attention/cuda/softmax.cuh"
#include "gpu_attention/cuda/swizzle.cuh"
#include "gpu_attention/cuda/vectors.cuh"
#include "gpu_attention/step_batch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kMaxLatent = 512, kMaxDim = 576;

// k_split: a warp's scores are first made for 16 * k_split heads over a part of the dimensions,
// which costs fewer loads per product, and then added up.
template <int heads, int tokens, int warps, int stages, int k_split>
struct Variant {
  static constexpr int kHeads = heads, kTokens = tokens, kWarps = warps, kStages = stages;
  static constexpr int kKSplit = k_split;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kMTiles = kHeads / 16;
  static constexpr int kWarpsN = kWarps / kMTiles;       // warps side by side over the tokens
  static constexpr int kWarpTokens = kTokens / kWarpsN;  // scores of a warp: 16 x kWarpTokens
  static constexpr int kColumns = kMaxLatent / kWarps;   // sums of a warp: kHeads x kColumns
  static_assert(kPageTokens % kTokens == 0 && kWarpTokens % 8 == 0 && kMTiles % kKSplit == 0);

  static constexpr int64_t SharedBytes(int dim) {
    const int64_t rows = kHeads + kStages * kTokens;
    return rows * SwizzledRow(dim) * 2 + kHeads * kTokens * 2 +
           (1 + kWarpsN) * RoundUp128(kHeads * 4);
  }
  static constexpr int64_t RoundUp128(int64_t n) { return (n + 127) / 128 * 128; }
};
using Large = Variant<64, 64, 8, 2, 2>;   // 225 KB at K2.6's width: H100, B200
using Medium = Variant<64, 32, 8, 2, 2>;  // 149 KB: A100
using Narrow = Variant<32, 16, 4, 3, 1>;  //  92 KB: cards with 99 KB; a page is read by two blocks
using Small = Variant<16, 32, 4, 2, 1>;   // for 16 heads or fewer
static_assert(Large::SharedBytes(kMaxDim) <= 227 * 1024);
static_assert(Medium::SharedBytes(kMaxDim) <= 163 * 1024);
static_assert(Narrow::SharedBytes(kMaxDim) <= 99 * 1024);
static_assert(Small::SharedBytes(kMaxDim) <= 99 * 1024);

// Two warps have the scores of the same heads and tokens over one half of the dimensions each. Each
// gives the other 16 of the 32 heads, in two turns, since there is room for one.
template <class V>
__device__ __forceinline__ void AddParts(const float (&parts)[V::kKSplit][V::kWarpTokens / 8][4],
                                         int warp, Shared<bf16> room,
                                         float (&s)[V::kWarpTokens / 8][4]) {
  static_assert(V::kKSplit <= 2);
  const int half = warp / V::kWarpsN % V::kKSplit;
#pragma unroll
  for (int n = 0; n < V::kWarpTokens / 8; ++n)
    for (int i = 0; i < 4; ++i) s[n][i] = half == 0 ? parts[0][n][i] : parts[V::kKSplit - 1][n][i];
  if constexpr (V::kKSplit == 2) {
    const int pair = warp / (2 * V::kWarpsN) * V::kWarpsN + warp % V::kWarpsN;
    const Shared<float> mine =
        PointerCast<float>(room) +
        (pair * (V::kWarpTokens / 8) * 32 + static_cast<int>(threadIdx.x) % 32) * 4;
#pragma unroll
    for (int turn = 0; turn < 2; ++turn) {
      if (half != turn) {
#pragma unroll
        for (int n = 0; n < V::kWarpTokens / 8; ++n) {
          const float(&part)[4] = parts[turn][n];
          StoreAs(mine + n * 128, float4{part[0], part[1], part[2], part[3]});
        }
      }
      __syncthreads();
      if (half == turn) {
#pragma unroll
        for (int n = 0; n < V::kWarpTokens / 8; ++n) {
          const auto other = LoadAs<float4>(mine + n * 128);
          s[n][0] += other.x;
          s[n][1] += other.y;
          s[n][2] += other.z;
          s[n][3] += other.w;
        }
      }
      if (turn == 0) __syncthreads();
    }
  }
}

// blocks_x: head groups, so that those who read the same pages run at the same time; blocks_y:
// splits; blocks_z: rows.
template <class V>
__global__ void __launch_bounds__(V::kThreads, 1) MlaDecodeKernel(MlaDecodeArgs a) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int first_head = static_cast<int>(blockIdx.x) * V::kHeads;
  const int heads = a.heads - first_head < V::kHeads ? a.heads - first_head : V::kHeads;
  const int split = static_cast<int>(blockIdx.y);
  const int64_t row = blockIdx.z;
  const int dim = a.latent + a.rope, row_elems = SwizzledRow(dim);

  // The range of this split.
  const int kv_len = a.kv_len[row];
  const int n_pages = (kv_len + kPageTokens - 1) / kPageTokens;
  const int begin = static_cast<int>(int64_t{split} * n_pages / a.n_splits) * kPageTokens;
  const int end_page = static_cast<int>((int64_t{split} + 1) * n_pages / a.n_splits);
  const int end = kv_len < end_page * kPageTokens ? kv_len : end_page * kPageTokens;
  const Global<float> lse = a.lse + ((row * a.n_splits + split) * a.heads + first_head);
  if (begin >= end) {
    if (thread < heads) lse[thread] = kMinusInfinity;
    return;
  }
  const int n_tiles = (end - begin + V::kTokens - 1) / V::kTokens;

  SharedArena arena;
  const Shared<bf16> query = arena.Take<bf16>(V::kHeads * row_elems);
  const Shared<bf16> stages = arena.Take<bf16>(V::kStages * V::kTokens * row_elems);
  const Shared<bf16> p = arena.Take<bf16>(V::kHeads * V::kTokens);
  const Shared<float> shrink = arena.Take<float>(V::kHeads);
  const Shared<float> of_warp = arena.Take<float>(V::kWarpsN * V::kHeads);  // maxima, then sums

  // Start loading: the query and the first tiles.
  const Global<const int32_t> pages = a.pages + row * a.pages_row;
  int page = pages[begin / kPageTokens];  // of the next tile to load: known one tile ahead
  const auto load = [&](int tile) {
    const int token = begin + tile * V::kTokens;
    const int64_t cached = int64_t{page} * kPageTokens + token % kPageTokens;
    CopyRows<V::kTokens, V::kThreads, kMaxDim>(
        stages + tile % V::kStages * (V::kTokens * row_elems), row_elems, a.cache + cached * dim,
        dim, end - token);
    if (tile + 1 < n_tiles) page = pages[(token + V::kTokens) / kPageTokens];
  };
  CopyRows<V::kHeads, V::kThreads, kMaxDim>(
      query, row_elems, a.query + (row * a.heads + first_head) * dim, dim, heads);
  for (int tile = 0; tile < V::kStages - 1; ++tile) {
    if (tile < n_tiles) load(tile);
    CopyAsyncCommit();
  }
  ZeroRest<V::kThreads>(query, row_elems, dim, V::kHeads);
  ZeroRest<V::kThreads>(stages, row_elems, dim, V::kStages * V::kTokens);

  const int score_head = warp / V::kWarpsN * 16;  // first row of the warp's scores
  const int team_head = score_head / (16 * V::kKSplit) * (16 * V::kKSplit);
  const int first_k = (score_head - team_head) / 16 * (row_elems / V::kKSplit);
  const int score_token = warp % V::kWarpsN * V::kWarpTokens;  // and first column
  const int column = warp * V::kColumns;                       // first column of its sums
  const float scale = a.scale * kLog2E;                        // the exponentials have base 2
  float sums[V::kMTiles][V::kColumns / 8][4] = {};
  float max[2] = {kMinusInfinity, kMinusInfinity};  // of rows g, g + 8 of the scores
  float total[2] = {0, 0};                          // this thread's part of their sums

  for (int tile = 0; tile < n_tiles; ++tile) {
    CopyAsyncWait<V::kStages - 2>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    if (tile + V::kStages - 1 < n_tiles) load(tile + V::kStages - 1);
    CopyAsyncCommit();
    const Shared<const bf16> tokens = stages + tile % V::kStages * (V::kTokens * row_elems);

    // Scores: this warp's part of the dimensions for all heads of its team, then all of them for
    // its own heads.
    float parts[V::kKSplit][V::kWarpTokens / 8][4] = {};
#pragma unroll 1  // more would spill
    for (int k = first_k; k < first_k + row_elems / V::kKSplit; k += 32) {
      const int piece = k / kPieceElems;
      uint32_t q[V::kKSplit][2][4];
#pragma unroll
      for (int m = 0; m < V::kKSplit; ++m) {
        for (int half = 0; half < 2; ++half) {
          LoadMatrix4(q[m][half], query + SwizzledPiece(team_head + m * 16 + lane % 16,
                                                        piece + 2 * half + lane / 16, row_elems));
        }
      }
#pragma unroll
      for (int n = 0; n < V::kWarpTokens / 8; ++n) {
        uint32_t key[4];
        LoadMatrix4(key, tokens + SwizzledPiece(score_token + n * 8 + lane % 8, piece + lane / 8,
                                                row_elems));
#pragma unroll
        for (int m = 0; m < V::kKSplit; ++m) {
          Mma16816(parts[m][n], q[m][0], {key[0], key[1]});
          Mma16816(parts[m][n], q[m][1], {key[2], key[3]});
        }
      }
    }
    float s[V::kWarpTokens / 8][4];
    AddParts<V>(parts, warp, p, s);

    // Maxima: of the warp's tokens, then of all.
    float tile_max[2] = {kMinusInfinity, kMinusInfinity};
#pragma unroll
    for (int n = 0; n < V::kWarpTokens / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = begin + tile * V::kTokens + score_token + n * 8 + 2 * t + i % 2;
        s[n][i] = token < end ? s[n][i] * scale : kMinusInfinity;
        tile_max[i / 2] = fmaxf(tile_max[i / 2], s[n][i]);
      }
    }
    for (int i = 0; i < 2; ++i) {
      tile_max[i] = QuadMax(tile_max[i]);
      if (t == 0) of_warp[warp % V::kWarpsN * V::kHeads + score_head + g + 8 * i] = tile_max[i];
    }
    __syncthreads();

    // Exponentials. Every tile has a visible token, so the new maximum is finite.
    for (int i = 0; i < 2; ++i) {
      const int head = score_head + g + 8 * i;
      float new_max = max[i];
      for (int w = 0; w < V::kWarpsN; ++w) new_max = fmaxf(new_max, of_warp[w * V::kHeads + head]);
      const float factor = exp2f(max[i] - new_max);
      if (t == 0 && warp % V::kWarpsN == 0) shrink[head] = factor;
      max[i] = new_max;
      total[i] *= factor;
#pragma unroll
      for (int n = 0; n < V::kWarpTokens / 8; ++n) {
        const float low = exp2f(s[n][2 * i] - new_max), high = exp2f(s[n][2 * i + 1] - new_max);
        total[i] += low + high;
        StoreAs(p + (SwizzledShortPiece<V::kTokens>(head, score_token / 8 + n) + 2 * t),
                PackBf16x2(low, high));
      }
    }
    __syncthreads();

    // Weighted sum of the latents. Columns behind the last of the row read it once more.
    if (column >= a.latent) continue;
#pragma unroll
    for (int m = 0; m < V::kMTiles; ++m) {
      const float low = shrink[m * 16 + g], high = shrink[m * 16 + 8 + g];
      if (Ballot(low != 1.0f || high != 1.0f) == 0) continue;
#pragma unroll
      for (int n = 0; n < V::kColumns / 8; ++n) {
        sums[m][n][0] *= low;
        sums[m][n][1] *= low;
        sums[m][n][2] *= high;
        sums[m][n][3] *= high;
      }
    }
#pragma unroll
    for (int k = 0; k < V::kTokens / 16; ++k) {
      // 16 rows further, the same piece: the swizzle repeats.
      const Shared<const bf16> weights =
          p + SwizzledShortPiece<V::kTokens>(lane % 16, k * 2 + lane / 16);
      uint32_t weight[V::kMTiles][4];
#pragma unroll
      for (int m = 0; m < V::kMTiles; ++m) LoadMatrix4(weight[m], weights + m * 16 * V::kTokens);
#pragma unroll
      for (int n = 0; n < V::kColumns / 8; n += 2) {
        const int last_piece = row_elems / kPieceElems - 1;
        const int piece = column / kPieceElems + n + lane / 16;
        uint32_t latent[4];
        LoadMatrix4Transposed(
            latent, tokens + SwizzledPiece(k * 16 + lane % 16,
                                           piece < last_piece ? piece : last_piece, row_elems));
#pragma unroll
        for (int m = 0; m < V::kMTiles; ++m) {
          Mma16816(sums[m][n], weight[m], {latent[0], latent[1]});
          Mma16816(sums[m][n + 1], weight[m], {latent[2], latent[3]});
        }
      }
    }
  }

  // The heads' totals, then what is left behind: normed sums and the logarithm of their weight.
  for (int i = 0; i < 2; ++i) {
    total[i] = QuadSum(total[i]);
    if (t == 0) of_warp[warp % V::kWarpsN * V::kHeads + score_head + g + 8 * i] = total[i];
  }
  __syncthreads();
  const auto total_of = [&](int head) {
    float sum = 0;
    for (int w = 0; w < V::kWarpsN; ++w) sum += of_warp[w * V::kHeads + head];
    return sum;
  };
  for (int i = 0; i < 2; ++i) {
    const int head = score_head + g + 8 * i;
    if (t == 0 && warp % V::kWarpsN == 0 && head < heads)
      lse[head] = max[i] + log2f(total_of(head));
  }
  const Global<float> out =
      a.partial + ((row * a.n_splits + split) * a.heads + first_head) * a.latent;
#pragma unroll
  for (int m = 0; m < V::kMTiles; ++m) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int head = m * 16 + g + 8 * i;
      if (head >= heads) continue;
      const float factor = 1.0f / total_of(head);
#pragma unroll
      for (int n = 0; n < V::kColumns / 8; ++n) {
        const int at = column + n * 8 + 2 * t;
        if (at >= a.latent) continue;
        StoreAs(out + (int64_t{head} * a.latent + at),
                float2{sums[m][n][2 * i] * factor, sums[m][n][2 * i + 1] * factor});
      }
    }
  }
}

template <class V>
void LaunchVariant(Stream& stream, const MlaDecodeArgs& a) {
  Launch(stream, "mla_decode", MlaDecodeKernel<V>,
         {.blocks_x = static_cast<uint32_t>((a.heads + V::kHeads - 1) / V::kHeads),
          .blocks_y = static_cast<uint32_t>(a.n_splits),
          .blocks_z = static_cast<uint32_t>(a.rows),
          .threads = V::kThreads,
          .shared_bytes = static_cast<size_t>(V::SharedBytes(a.latent + a.rope))},
         a);
}

// Calls use(variant) with the widest one that fits.
template <class Use>
auto ForVariant(int32_t heads, int32_t dim, int64_t shared_bytes, const Use& use) {
  if (heads <= Small::kHeads) return use(Small());
  if (heads > Narrow::kHeads && Large::SharedBytes(dim) <= shared_bytes) return use(Large());
  if (heads > Narrow::kHeads && Medium::SharedBytes(dim) <= shared_bytes) return use(Medium());
  return use(Narrow());
}

}  // namespace

void MlaDecode(Stream& stream, const MlaDecodeArgs& args) {
  const int32_t dim = args.latent + args.rope;
  TANDEM_CHECK(
      args.latent % 8 == 0 && args.rope % 8 == 0 && args.latent <= kMaxLatent && dim <= kMaxDim,
      "a cached row is made of pieces of 8 and fits into a tile");
  ForVariant(args.heads, dim, args.shared_bytes_per_block,
             [&](auto variant) { LaunchVariant<decltype(variant)>(stream, args); });
  MlaDecodeMerge(stream, args);
}

// Time in pages per block: its pages, and about three more for loading the query and writing the
// sums. Blocks run in waves of one per multiprocessor.
int32_t DecodeSplits(int32_t rows, int32_t heads, int64_t longest, int32_t multiprocessors,
                     int64_t shared_bytes_per_block) {
  constexpr int64_t kFixedPages = 3;
  const int32_t heads_per_block =
      ForVariant(heads, kMaxDim, shared_bytes_per_block,
                 [](auto variant) { return int32_t{decltype(variant)::kHeads}; });
  const int64_t blocks = int64_t{rows} * ((heads + heads_per_block - 1) / heads_per_block);
  const int64_t pages = std::max<int64_t>(1, (longest + kPageTokens - 1) / kPageTokens);
  const int64_t most = std::min<int64_t>(pages, multiprocessors);
  int32_t best = 1;
  int64_t best_time = std::numeric_limits<int64_t>::max();
  for (int32_t splits = 1; splits <= most; ++splits) {
    const int64_t waves = (blocks * splits + multiprocessors - 1) / multiprocessors;
    const int64_t time = waves * ((pages + splits - 1) / splits + kFixedPages);
    if (time < best_time) best = splits, best_time = time;
  }
  return best;
}

DecodeWorkspace DecodeWorkspaceFor(int32_t rows, int32_t n_splits, int32_t heads, int32_t latent) {
  const int64_t lse = int64_t{rows} * n_splits * heads;
  return {lse * latent, lse};
}

}  // namespace tandem::TANDEM_GPU
