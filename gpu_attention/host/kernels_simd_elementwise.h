// Row-wise vector kernels: exp, norm, activation, quantisation. Part of kernels_simd.h.
#pragma once

#include "gpu_attention/host/dense_kernels.h"

namespace tandem {
namespace {

// e^x for x <= 88, relative error below 2e-7; below -87 it stays at e^-87, next to nothing.
// x = n ln 2 + r, |r| <= ln 2 / 2, and a degree-6 polynomial for e^r.
TANDEM_INLINE VecF Exp(VecF x) {
  x = Min(Max(x, Set1(-87.0f)), Set1(88.0f));
  const VecF n = RoundEven(Mul(x, Set1(1.44269504f)));
  // ln 2 in two parts: the first has few bits, so n times it is exact.
  VecF r = Fma(n, Set1(-0.693359375f), x);
  r = Fma(n, Set1(2.12194440e-4f), r);
  VecF p = Set1(1.0f / 720);
  p = Fma(p, r, Set1(1.0f / 120));
  p = Fma(p, r, Set1(1.0f / 24));
  p = Fma(p, r, Set1(1.0f / 6));
  p = Fma(p, r, Set1(0.5f));
  p = Fma(p, r, Set1(1.0f));
  p = Fma(p, r, Set1(1.0f));
  return Mul(p, Exp2Int(n));
}

// A row's last, partial vector goes through this, so that no kernel needs masks.
struct Tail {
  float values[kLanes] = {};
  TANDEM_INLINE Tail(const float* p, int32_t n) {
    for (int32_t i = 0; i < n; ++i) values[i] = p[i];
  }
  TANDEM_INLINE void Save(float* p, int32_t n) const {
    for (int32_t i = 0; i < n; ++i) p[i] = values[i];
  }
};

void RmsNorm(const float* x, const float* weight, int32_t n, float eps, float* y) {
  VecF squares[4] = {ZeroF(), ZeroF(), ZeroF(), ZeroF()};
  int32_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int v = 0; v < 4; ++v) {
      const VecF value = Load(x + i + v * kLanes);
      squares[v] = Fma(value, value, squares[v]);
    }
  }
  float sum = ReduceAdd(Add(Add(squares[0], squares[1]), Add(squares[2], squares[3])));
  for (; i < n; ++i) sum += x[i] * x[i];
  const float factor = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
  const VecF factors = Set1(factor);
  for (i = 0; i + kLanes <= n; i += kLanes)
    Store(y + i, Mul(Load(weight + i), Mul(Load(x + i), factors)));
  for (; i < n; ++i) y[i] = weight[i] * (x[i] * factor);
}

TANDEM_INLINE VecF SiluMul(VecF gate, VecF up) {
  const VecF one = Set1(1.0f);
  return Mul(Div(gate, Add(one, Exp(Sub(ZeroF(), gate)))), up);
}

void SiluMul(const float* gate, const float* up, int32_t n, float* y) {
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, SiluMul(Load(gate + i), Load(up + i)));
  if (i < n) {
    Tail g(gate + i, n - i), u(up + i, n - i);
    Store(g.values, SiluMul(Load(g.values), Load(u.values)));
    g.Save(y + i, n - i);
  }
}

TANDEM_INLINE void QuantizeGroup(const float* x, int16_t* q, float* scale) {
  VecF max = ZeroF();
  for (int i = 0; i < kScaleGroup; i += kLanes) max = Max(max, Abs(Load(x + i)));
  const float limit = ReduceMax(max);
  *scale = limit / 32767.0f;
  const VecF inverse = Set1(limit > 0 ? 32767.0f / limit : 0.0f), top = Set1(32767.0f);
  for (int i = 0; i < kScaleGroup; i += kLanes)
    StoreRoundedInt16(q + i, Min(Mul(Load(x + i), inverse), top));
}

void Quantize(const float* x, int32_t n, int16_t* q, float* scales) {
  int32_t i = 0;
  for (; i + kScaleGroup <= n; i += kScaleGroup)
    QuantizeGroup(x + i, q + i, scales + i / kScaleGroup);
  if (i < n) {
    float padded[kScaleGroup] = {};
    for (int32_t j = i; j < n; ++j) padded[j - i] = x[j];
    QuantizeGroup(padded, q + i, scales + i / kScaleGroup);
  }
}

}  // namespace
}  // namespace tandem
