// Absorbed attention over pages. Part of kernels_simd.h.
//
// Per page: convert it to F32, then for each block of 4 query rows the scores (4 rows x 2 tokens of
// registers, lanes along the cached dimension), the online softmax, and the weighted sum of the
// latents (4 rows x 2 vectors of registers, over the page's tokens).
// Work: 2 * (cache_dim + latent_dim) operations per row and token; a page of K2.6 is 144 KiB in F32
// and stays in the second-level cache for all rows.
#pragma once

#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/kernels_simd_elementwise.h"

namespace tandem {
namespace {

constexpr int kRowBlock = 4;
constexpr float kNoScore = -1e30f;  // the running maximum before the first page

// A row's memory between pages, in the scratch behind the page.
struct RowState {
  float* probability;  // [64]
  float* max;
  float* sum;
};

TANDEM_INLINE RowState StateOf(const AttendArgs& a, int32_t row) {
  float* base = a.scratch + kAttendPageTokens * a.padded_dim + row * (kAttendPageTokens + 16);
  return {base, base + kAttendPageTokens, base + kAttendPageTokens + 1};
}

// Tokens of the page in F32, zero beyond `tokens` up to an even number and beyond cache_dim.
void LoadPage(const AttendArgs& a, int32_t page, int32_t tokens) {
  const bf16* from = a.cache + int64_t{page} * kAttendPageTokens * a.cache_dim;
  for (int32_t s = 0; s < tokens; ++s, from += a.cache_dim) {
    float* to = a.scratch + int64_t{s} * a.padded_dim;
    int32_t d = 0;
    for (; d + kLanes <= a.cache_dim; d += kLanes) Store(to + d, LoadBf16(from + d));
    for (; d < a.cache_dim; ++d) to[d] = ToFloat(from[d]);
    for (; d < a.padded_dim; ++d) to[d] = 0;
  }
  if (tokens % 2 != 0) {
    float* to = a.scratch + int64_t{tokens} * a.padded_dim;
    for (int32_t d = 0; d < a.padded_dim; ++d) to[d] = 0;
  }
}

// Scores of kRows rows with tokens [0, tokens) of the page, tokens even.
template <int kRows>
TANDEM_INLINE void Scores(const AttendArgs& a, int32_t row, int32_t tokens) {
  const float* q = a.queries + row * a.queries_stride;
  for (int32_t s = 0; s < tokens; s += 2) {
    const float* k0 = a.scratch + int64_t{s} * a.padded_dim;
    const float* k1 = k0 + a.padded_dim;
    VecF sum[kRows][2];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = ZeroF();
    for (int32_t d = 0; d < a.padded_dim; d += kLanes) {
      const VecF v0 = Load(k0 + d), v1 = Load(k1 + d);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const VecF value = Load(q + r * a.queries_stride + d);
        sum[r][0] = Fma(value, v0, sum[r][0]);
        sum[r][1] = Fma(value, v1, sum[r][1]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float* p = StateOf(a, row + r).probability + s;
      p[0] = ReduceAdd(sum[r][0]) * a.scale;
      p[1] = ReduceAdd(sum[r][1]) * a.scale;
    }
  }
}

// Turns a row's scores into unnormalised probabilities, zero for tokens it may not see, and
// returns the factor that its earlier sums shrink by.
TANDEM_INLINE float SoftmaxStep(const AttendArgs& a, int32_t row, int32_t seen) {
  const RowState state = StateOf(a, row);
  float* p = state.probability;
  for (int32_t s = seen; s < kAttendPageTokens; ++s) p[s] = kNoScore;
  VecF max = Set1(*state.max);
  for (int s = 0; s < kAttendPageTokens; s += kLanes) max = Max(max, Load(p + s));
  const float new_max = ReduceMax(max);
  for (int s = 0; s < kAttendPageTokens; s += kLanes)
    Store(p + s, Exp(Sub(Load(p + s), Set1(new_max))));
  for (int32_t s = seen; s < kAttendPageTokens; ++s) p[s] = 0;
  VecF sum = ZeroF();
  for (int s = 0; s < kAttendPageTokens; s += kLanes) sum = Add(sum, Load(p + s));
  float shrink[kLanes];
  Store(shrink, Exp(Set1(*state.max - new_max)));
  *state.sum = *state.sum * shrink[0] + ReduceAdd(sum);
  *state.max = new_max;
  return shrink[0];
}

// out[r, :] = out[r, :] * shrink[r] + sum_s p[r, s] * latent[s, :]
template <int kRows>
TANDEM_INLINE void AddLatents(const AttendArgs& a, int32_t row, int32_t tokens,
                              const float (&shrink)[kRows]) {
  const float* p = StateOf(a, row).probability;
  constexpr int64_t kStateStride = kAttendPageTokens + 16;
  float* out = a.out + row * a.out_stride;
  int32_t d = 0;
  auto columns = [&]<int kVectors>() __attribute__((always_inline)) {
    VecF sum[kRows][kVectors];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = Mul(Load(out + r * a.out_stride + d + v * kLanes), Set1(shrink[r]));
    for (int32_t s = 0; s < tokens; ++s) {
      const float* latent = a.scratch + int64_t{s} * a.padded_dim + d;
      VecF values[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) values[v] = Load(latent + v * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const VecF weight = Set1(p[r * kStateStride + s]);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[r][v] = Fma(weight, values[v], sum[r][v]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) Store(out + r * a.out_stride + d + v * kLanes, sum[r][v]);
  };
  for (; d + 2 * kLanes <= a.latent_dim; d += 2 * kLanes) columns.template operator()<2>();
  for (; d < a.latent_dim; d += kLanes) columns.template operator()<1>();
}

// One page for kRows rows from `row` on.
template <int kRows>
void AttendPage(const AttendArgs& a, int32_t row, int32_t first_token) {
  int32_t seen[kRows], most = 0;
  for (int r = 0; r < kRows; ++r) {
    const int32_t left = a.visible[row + r] - first_token;
    seen[r] = left < 0 ? 0 : left < kAttendPageTokens ? left : int32_t{kAttendPageTokens};
    if (seen[r] > most) most = seen[r];
  }
  if (most == 0) return;
  Scores<kRows>(a, row, (most + 1) & ~1);
  float shrink[kRows];
  for (int r = 0; r < kRows; ++r) {
    shrink[r] = SoftmaxStep(a, row + r, seen[r]);
  }
  AddLatents<kRows>(a, row, most, shrink);
}

void Attend(const AttendArgs& a) {
  int32_t last = 0;
  for (int32_t row = 0; row < a.rows; ++row) {
    const RowState state = StateOf(a, row);
    *state.max = kNoScore;
    *state.sum = 0;
    for (int32_t d = 0; d < a.latent_dim; ++d) a.out[row * a.out_stride + d] = 0;
    if (a.visible[row] > last) last = a.visible[row];
  }
  for (int32_t token = 0; token < last; token += kAttendPageTokens) {
    const int32_t left = last - token;
    LoadPage(a, a.pages[token / kAttendPageTokens],
             left < kAttendPageTokens ? left : int32_t{kAttendPageTokens});
    int32_t row = 0;
    for (; row + kRowBlock <= a.rows; row += kRowBlock) AttendPage<kRowBlock>(a, row, token);
    for (; row < a.rows; ++row) AttendPage<1>(a, row, token);
  }
  for (int32_t row = 0; row < a.rows; ++row) {
    const VecF inverse = Set1(1.0f / *StateOf(a, row).sum);
    float* out = a.out + row * a.out_stride;
    for (int32_t d = 0; d < a.latent_dim; d += kLanes) Store(out + d, Mul(Load(out + d), inverse));
  }
}

}  // namespace
}  // namespace tandem
