// One block: 128 queries of one head against a block of keys, 64 of them at a time, 16 queries per
// warp.
//
//   shared memory   2 x (keys [64, qk], values [64, v]), loaded in the background; 80 KB
//   registers       the queries, the scores and the running sums of a warp
//   scores          queries times keys, by ldmatrix; the softmax of a query stays in four lanes
//   sum             the scores, rounded, are already laid out as an A operand; values transposed
//
// Per 128 x 64 pairs at K2.6's width on an SM of an H100 (by arithmetic, not timed): 1,280 mma take
// 1.2 us at the rate of mma.sync; ldmatrix reads 330 KB, 1.5 us, which is the bound, at 40 % of the
// tensor cores' peak; 41 KB come from L2, half of what it could deliver in that time.
#include "gpu_attention/cuda/mla_prefill.h"

#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/cuda/softmax.cuh"
#include "gpu_attention/cuda/swizzle.cuh"
#include "gpu_attention/cuda/vectors.cuh"
#include "gpu_attention/step_batch.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int kThreads = 256;
constexpr int kQueries = 128, kKeys = 64;  // of a tile; a warp has 16 queries

// Walks over the units of rows, kUnit elements each: a thread takes every kThreads-th. `use` gets
// row and first element.
template <int kUnit, int kRows, class Use>
__device__ __forceinline__ void ForUnits(int row_elems, const Use& use) {
  const int units = row_elems / kUnit;
  int row = static_cast<int>(threadIdx.x) / units, unit = static_cast<int>(threadIdx.x) % units;
  const int row_step = kThreads / units, unit_step = kThreads % units;
  while (row < kRows) {
    use(row, unit * kUnit);
    row += row_step;
    unit += unit_step;
    if (unit >= units) {
      unit -= units;
      ++row;
    }
  }
}

// A piece of 8 elements in the background, or a single one at once (models whose sizes are no
// multiples of 8); zero if not `valid`.
template <int kUnit>
__device__ __forceinline__ void CopyUnit(Shared<bf16> to, Global<const bf16> from, bool valid) {
  if constexpr (kUnit == kPieceElems) {
    CopyAsync16(to, from, valid);
  } else {
    *to = valid ? *from : bf16{0};
  }
}

template <int kRowElems>
__device__ __forceinline__ int SwizzledElem(int row, int elem) {
  return SwizzledPiece(row, elem / kPieceElems, kRowElems) + elem % kPieceElems;
}

template <int kQk, int kUnit>
__device__ __forceinline__ void LoadQueries(const MlaPrefillArgs& a, int first_query, int64_t head,
                                            Shared<bf16> to) {
  const int qk = a.nope + a.rope;
  const Global<const bf16> from = a.q + (int64_t{first_query} * a.heads + head) * qk;
  ForUnits<kUnit, kQueries>(qk, [&](int row, int elem) {
    CopyUnit<kUnit>(to + SwizzledElem<kQk>(row, elem), from + (int64_t{row} * a.heads * qk + elem),
                    first_query + row < a.tokens);
  });
}

// Keys [nope | rope] and values, from first_key of the block on.
template <int kQk, int kV, int kUnit>
__device__ __forceinline__ void LoadKeys(const MlaPrefillArgs& a, int first_key, int64_t head,
                                         Shared<bf16> keys, Shared<bf16> values) {
  const int64_t kv_row = int64_t{a.heads} * (a.nope + a.v);
  const Global<const bf16> kv = a.kv + (first_key * kv_row + head * (a.nope + a.v));
  const Global<const bf16> k_pe = a.k_pe + first_key * a.k_pe_row;
  const int qk = a.nope + a.rope;
  ForUnits<kUnit, kKeys>(qk + a.v, [&](int row, int elem) {
    const bool is_value = elem >= qk, is_rotary = elem >= a.nope && !is_value;
    CopyUnit<kUnit>(
        is_value ? values + SwizzledElem<kV>(row, elem - qk) : keys + SwizzledElem<kQk>(row, elem),
        is_rotary ? k_pe + (row * a.k_pe_row + elem - a.nope)
                  : kv + (row * kv_row + (is_value ? elem - a.rope : elem)),
        first_key + row < a.len);
  });
}

// kQk, kV: room for nope + rope and for v; multiples of 64. blocks_x: query tiles, longest first;
// blocks_y: heads.
template <int kQk, int kV>
__global__ void __launch_bounds__(kThreads, 1) MlaPrefillKernel(MlaPrefillArgs a) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int64_t head = blockIdx.y;
  const int first_query = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kQueries;
  const int queries = a.tokens - first_query < kQueries ? a.tokens - first_query : kQueries;
  const int qk = a.nope + a.rope;
  const bool in_pieces = a.nope % 8 == 0 && a.rope % 8 == 0 && a.v % 8 == 0 && a.k_pe_row % 8 == 0;
  // Keys that the last query sees.
  const int seen = a.kv_len + first_query + queries - a.begin;
  const int n_tiles = seen <= 0 ? 0 : ((seen < a.len ? seen : a.len) + kKeys - 1) / kKeys;

  SharedArena arena;
  const Shared<bf16> keys = arena.Take<bf16>(2 * kKeys * kQk);
  const Shared<bf16> values = arena.Take<bf16>(2 * kKeys * kV);
  const auto load = [&](int tile) {
    const Shared<bf16> to_keys = keys + tile % 2 * (kKeys * kQk);
    const Shared<bf16> to_values = values + tile % 2 * (kKeys * kV);
    if (in_pieces) {
      LoadKeys<kQk, kV, kPieceElems>(a, tile * kKeys, head, to_keys, to_values);
    } else {
      LoadKeys<kQk, kV, 1>(a, tile * kKeys, head, to_keys, to_values);
    }
  };

  // The queries go through the keys' room into registers.
  static_assert(kQueries <= 2 * kKeys);
  if (in_pieces) {
    LoadQueries<kQk, kPieceElems>(a, first_query, head, keys);
  } else {
    LoadQueries<kQk, 1>(a, first_query, head, keys);
  }
  CopyAsyncCommit();
  for (int i = thread; i < 2 * kKeys * (kQk - qk); i += kThreads)  // columns that nobody loads
    keys[SwizzledElem<kQk>(i / (kQk - qk), qk + i % (kQk - qk))] = bf16{0};
  CopyAsyncWait<0>();
  __syncthreads();
  uint32_t query[kQk / 16][4];
#pragma unroll
  for (int k = 0; k < kQk / 16; ++k)
    LoadMatrix4(query[k], keys + SwizzledPiece(warp * 16 + lane % 16, k * 2 + lane / 16, kQk));
  __syncthreads();
  if (n_tiles > 0) load(0);
  CopyAsyncCommit();

  // The state of the blocks before.
  const auto state = [&](int i) {
    return (int64_t{first_query} + warp * 16 + g + 8 * i) * a.heads + head;
  };
  const auto mine = [&](int i) { return warp * 16 + g + 8 * i < queries; };
  float sums[kV / 8][4] = {};
  float max[2] = {kMinusInfinity, kMinusInfinity};
  float total[2] = {0, 0};  // this thread's part
  for (int i = 0; i < 2; ++i) {
    if (a.first || !mine(i)) continue;
    max[i] = a.max[state(i)];
    if (t == 0) total[i] = a.sum[state(i)];
#pragma unroll
    for (int n = 0; n < kV / 8; ++n) {
      if (n * 8 + 2 * t >= a.v) continue;
      const auto old = LoadAs<float2>(a.acc + (state(i) * a.v + n * 8 + 2 * t));
      sums[n][2 * i] = old.x;
      sums[n][2 * i + 1] = old.y;
    }
  }

  const float scale = a.scale * kLog2E;
  for (int tile = 0; tile < n_tiles; ++tile) {
    CopyAsyncWait<0>();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    if (tile + 1 < n_tiles) load(tile + 1);
    CopyAsyncCommit();
    const int position = a.kv_len + first_query + warp * 16 + g;  // of row g; g + 8 is 8 further
    const int first_key = tile * kKeys;
    if (warp * 16 >= queries || a.begin + first_key > position - g + 15) continue;  // sees none
    const Shared<const bf16> tile_keys = keys + tile % 2 * (kKeys * kQk);
    const Shared<const bf16> tile_values = values + tile % 2 * (kKeys * kV);

    // Scores.
    float s[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kQk / 32; ++k) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        uint32_t key[4];
        LoadMatrix4(key, tile_keys + SwizzledPiece(n * 8 + lane % 8, k * 4 + lane / 8, kQk));
        Mma16816(s[n], query[2 * k], {key[0], key[1]});
        Mma16816(s[n], query[2 * k + 1], {key[2], key[3]});
      }
    }

    // Who sees what: keys up to the query's own position, within the block.
    if (first_key + kKeys > a.len || a.begin + first_key + kKeys > position - g) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = first_key + n * 8 + 2 * t + i % 2;
          if (key >= a.len || a.begin + key > position + i / 2 * 8) s[n][i] = kMinusInfinity;
        }
      }
    }

    // Softmax.
    for (int i = 0; i < 2; ++i) {
      float new_max = max[i];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
        new_max = fmaxf(new_max, fmaxf(s[n][2 * i], s[n][2 * i + 1]) * scale);
      new_max = QuadMax(new_max);
      const float base = new_max == kMinusInfinity ? 0.0f : new_max;  // nothing seen so far
      const float factor = exp2f(max[i] - base);
      max[i] = new_max;
      total[i] *= factor;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          s[n][j] = exp2f(s[n][j] * scale - base);
          total[i] += s[n][j];
        }
      }
#pragma unroll
      for (int n = 0; n < kV / 8; ++n) {
        sums[n][2 * i] *= factor;
        sums[n][2 * i + 1] *= factor;
      }
    }

    // Weighted sum of the values.
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const uint32_t weight[4] = {PackBf16x2(s[2 * k][0], s[2 * k][1]),
                                  PackBf16x2(s[2 * k][2], s[2 * k][3]),
                                  PackBf16x2(s[2 * k + 1][0], s[2 * k + 1][1]),
                                  PackBf16x2(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kV / 8; n += 2) {
        uint32_t value[4];
        LoadMatrix4Transposed(value,
                              tile_values + SwizzledPiece(k * 16 + lane % 16, n + lane / 16, kV));
        Mma16816(sums[n], weight, {value[0], value[1]});
        Mma16816(sums[n + 1], weight, {value[2], value[3]});
      }
    }
  }

  // Out, or on to the next block.
  for (int i = 0; i < 2; ++i) {
    const float sum = QuadSum(total[i]);
    if (!mine(i)) continue;
    if (!a.last && t == 0) {
      a.max[state(i)] = max[i];
      a.sum[state(i)] = sum;
    }
#pragma unroll
    for (int n = 0; n < kV / 8; ++n) {
      const int column = n * 8 + 2 * t;
      if (column >= a.v) continue;
      if (a.last) {
        StoreAs(a.out + (state(i) * a.v + column),
                PackBf16x2(sums[n][2 * i] / sum, sums[n][2 * i + 1] / sum));
      } else {
        StoreAs(a.acc + (state(i) * a.v + column), float2{sums[n][2 * i], sums[n][2 * i + 1]});
      }
    }
  }
}

template <int kQk, int kV>
void LaunchVariant(Stream& stream, const MlaPrefillArgs& a) {
  Launch(stream, "mla_prefill", MlaPrefillKernel<kQk, kV>,
         {.blocks_x = static_cast<uint32_t>((a.tokens + kQueries - 1) / kQueries),
          .blocks_y = static_cast<uint32_t>(a.heads),
          .threads = kThreads,
          .shared_bytes = 2 * kKeys * (kQk + kV) * sizeof(bf16)},
         a);
}

constexpr int kGatherThreads = 256;

// One piece of 16 bytes per thread.
__global__ void __launch_bounds__(kGatherThreads) GatherLatentsKernel(GatherLatentsArgs a) {
  const int pieces = a.dim / kPieceElems;
  const int64_t at = int64_t{blockIdx.x} * kGatherThreads + threadIdx.x;
  if (at >= int64_t{a.len} * pieces) return;
  const int key = static_cast<int>(at / pieces), position = a.begin + key;
  const int elem = static_cast<int>(at % pieces) * kPieceElems;
  const int64_t cached =
      int64_t{a.pages[position / kPageTokens]} * kPageTokens + position % kPageTokens;
  StoreAs(a.out + (int64_t{key} * a.dim + elem), LoadAs<uint4>(a.cache + (cached * a.dim + elem)));
}

}  // namespace

void GatherLatents(Stream& stream, const GatherLatentsArgs& args) {
  TANDEM_CHECK(args.dim % kPieceElems == 0, "a cached row is made of pieces of 8");
  const int64_t pieces = int64_t{args.len} * (args.dim / kPieceElems);
  Launch(stream, "gather_latents", GatherLatentsKernel,
         {.blocks_x = static_cast<uint32_t>((pieces + kGatherThreads - 1) / kGatherThreads),
          .threads = kGatherThreads},
         args);
}

void MlaPrefill(Stream& stream, const MlaPrefillArgs& args) {
  const int32_t qk = args.nope + args.rope;
  TANDEM_CHECK(
      args.nope % 4 == 0 && args.rope % 4 == 0 && args.v % 4 == 0 && qk <= 192 && args.v <= 128,
      "a head's rows are made of fours and fit into a tile");
  if (qk <= 64 && args.v <= 64) {
    LaunchVariant<64, 64>(stream, args);
  } else {
    LaunchVariant<192, 128>(stream, args);
  }
}

}  // namespace tandem::TANDEM_GPU
