// The dense side's CPU kernels: one table of functions per instruction set.
//
// Weights lie in panels of 32 output rows, and inside a panel two inputs of a row lie side by side
// (packed_matrix.h). A vector lane is one output row, so a dot product is one chain of
// multiply-adds in ascending input order, whatever the number of tokens, the vector width or the
// worker: every table gives the same bits for the linear kernels, at any batch size.
//
// Kernels own nothing and allocate nothing; any number of threads may call them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bf16.h"

namespace tandem {

inline constexpr int32_t kDensePanelRows = 32;  // output rows of a panel
inline constexpr int32_t kScaleGroup =
    128;  // inputs that share a scale, of weights and activations
// One group of an INT8 panel: 32 BF16 scales, then 64 lines of 32 rows x 2 inputs.
inline constexpr int64_t kInt8GroupBytes = kDensePanelRows * 2 + kDensePanelRows * kScaleGroup;

// y[t, r] = sum_k w[r, k] * x[t, k], for the rows of some consecutive panels.
struct LinearArgs {
  const std::byte* panels = nullptr;  // the first panel
  int64_t panel_bytes = 0;            // from one panel to the next
  int32_t n_panels = 0;
  int32_t cols = 0;  // inputs, padded: even for BF16 and F32, a multiple of kScaleGroup for INT8
  int32_t tokens = 0;
  const float* x = nullptr;  // [tokens, cols], BF16 and F32 weights
  int64_t x_stride = 0;
  const int16_t* xq = nullptr;  // [tokens, cols], INT8 weights
  int64_t xq_stride = 0;
  const float* xq_scales = nullptr;  // [tokens, cols / kScaleGroup]
  int64_t xq_scales_stride = 0;
  float* y = nullptr;  // [tokens, n_panels * 32], overwritten
  int64_t y_stride = 0;
};

// Attention of some query rows over one sequence's pages, in the absorbed form (MQA with one shared
// key of cache_dim and value of latent_dim elements):
//   score[r, s] = scale * (queries[r, :] . cache[s, :]),  s < visible[r]
//   out[r, :]   = sum_s softmax_s(score[r, s]) * cache[s, 0 : latent_dim]
// Each page is converted to F32 once for all rows. Softmax is online, page by page, so a row's bits
// depend on nothing but its query and the cached tokens it sees.
struct AttendArgs {
  const float* queries = nullptr;  // [rows, padded_dim], zero beyond cache_dim
  int64_t queries_stride = 0;
  const int32_t* visible = nullptr;  // [rows], each at least 1
  int32_t rows = 0;
  const bf16* cache = nullptr;  // this layer's pages: [pages, kPageTokens, cache_dim]
  const int32_t* pages = nullptr;
  int32_t cache_dim = 0;
  int32_t latent_dim = 0;  // a multiple of 16
  int32_t padded_dim = 0;  // cache_dim rounded up to a multiple of 16
  float scale = 0;
  float* out = nullptr;  // [rows, latent_dim]
  int64_t out_stride = 0;
  float* scratch = nullptr;  // AttendScratchFloats(padded_dim, rows), 64-byte aligned
};
inline constexpr int64_t kAttendPageTokens = 64;
// A page in F32; per row 64 probabilities, running maximum and sum.
constexpr int64_t AttendScratchFloats(int32_t padded_dim, int32_t rows) {
  return kAttendPageTokens * padded_dim + int64_t{rows} * (kAttendPageTokens + 16);
}

struct DenseKernels {
  const char* name;
  void (*linear_bf16)(const LinearArgs&);
  void (*linear_f32)(const LinearArgs&);
  void (*linear_int8)(const LinearArgs&);
  // Symmetric INT16 with a scale per group: q = round(x / scale), scale = max |x| / 32767.
  // Writes groups * kScaleGroup values, zero beyond n.
  void (*quantize)(const float* x, int32_t n, int16_t* q, float* scales);
  // y = weight * x / sqrt(mean(x^2) + eps). y may be x.
  void (*rms_norm)(const float* x, const float* weight, int32_t n, float eps, float* y);
  // y = gate / (1 + exp(-gate)) * up. y may be gate.
  void (*silu_mul)(const float* gate, const float* up, int32_t n, float* y);
  void (*attend)(const AttendArgs&);
};

extern const DenseKernels kDenseTableScalar;
extern const DenseKernels kDenseTableAvx2;
extern const DenseKernels kDenseTableAvx512;

}  // namespace tandem
