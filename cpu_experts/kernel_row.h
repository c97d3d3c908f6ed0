// What happens to rows of activations: quantisation, SiLU * mul, adding to the output; once for all
// instruction sets. Included only by kernel_<isa>.cpp files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_experts/kernel_panel.h"

namespace tandem {
namespace {

// e^x for x in [-87, 87] by range reduction x = n ln 2 + r and a polynomial in r (Cephes' degree
// and constants); relative error about 1e-7.
template <class Isa>
typename Isa::F Exp(typename Isa::F x) {
  using F = typename Isa::F;
  x = Isa::Min(Isa::Max(x, Isa::Set(-87.0f)), Isa::Set(87.0f));
  const F n = Isa::Round(Isa::Mul(x, Isa::Set(1.44269504f)));
  F r = Isa::Fma(n, Isa::Set(-0.693359375f), x);
  r = Isa::Fma(n, Isa::Set(2.12194440e-4f), r);
  F p = Isa::Set(1.9875691500e-4f);
  p = Isa::Fma(p, r, Isa::Set(1.3981999507e-3f));
  p = Isa::Fma(p, r, Isa::Set(8.3334519073e-3f));
  p = Isa::Fma(p, r, Isa::Set(4.1665795894e-2f));
  p = Isa::Fma(p, r, Isa::Set(1.6666665459e-1f));
  p = Isa::Fma(p, r, Isa::Set(5.0000001201e-1f));
  p = Isa::Fma(p, Isa::Mul(r, r), r);
  p = Isa::AddF(p, Isa::Set(1.0f));
  return Isa::ScaleByPowerOfTwo(p, n);
}

// Quantises 32 floats into one record; see activation.h.
template <class Isa, int kPlanes>
void QuantizeGroup(const float* values, uint8_t* record) {
  using F = typename Isa::F;
  using I = typename Isa::I;
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  constexpr int kParts = kActivationGroup / kLanes;
  F part[kParts];
  F largest = Isa::Zero();
  for (int i = 0; i < kParts; ++i) {
    part[i] = Isa::LoadF(values + i * kLanes);
    largest = Isa::Max(largest, Isa::Abs(part[i]));
  }
  const float max = Isa::ReduceMax(largest);
  constexpr float kLimit = kLargestCode[kPlanes - 1];
  const bool zero = max < kSmallestActivation;
  const float scale = zero ? 0.0f : max / kLimit;
  const F inverse = Isa::Set(zero ? 0.0f : kLimit / max);
  __builtin_memcpy(record, &scale, sizeof(scale));

  int32_t sums[kMaxPlanes] = {};
  for (int i = 0; i < kParts; ++i) {
    const I code = Isa::ToInt(Isa::Mul(part[i], inverse));
    int8_t* out = reinterpret_cast<int8_t*>(record) + i * kLanes;
    if constexpr (kPlanes == 1) {
      Isa::StoreInt8(out + CodesOffset(1, 0), code);
      sums[0] += Isa::ReduceAdd(code);
    } else {
      const I high = Isa::HighPlane(code);  // (code + 64) >> 7
      const I low = Isa::Sub(code, Isa::ShiftPlane(high));
      Isa::StoreInt8(out + CodesOffset(2, 0), high);
      Isa::StoreInt8(out + CodesOffset(2, 1), low);
      sums[0] += Isa::ReduceAdd(high);
      sums[1] += Isa::ReduceAdd(low);
    }
  }
  for (int p = 0; p < kPlanes; ++p) {
    const int32_t correction = -8 * sums[p];
    __builtin_memcpy(record + CorrectionOffset(p), &correction, sizeof(correction));
  }
}

template <class Isa, int kPlanes>
void Quantize(const bf16* x, int32_t groups, uint8_t* records) {
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  alignas(64) float values[kActivationGroup];
  for (int g = 0; g < groups; ++g) {
    for (int i = 0; i < kActivationGroup; i += kLanes)
      Isa::StoreF(values + i, Isa::LoadBf16(x + g * kActivationGroup + i));
    QuantizeGroup<Isa, kPlanes>(values, records + g * RecordBytes(kPlanes));
  }
}

// 32 values of h from one token's sums of four panels: gate, up, gate, up.
template <class Isa>
void SiluMulGroup(const float* sums, float* values) {
  using F = typename Isa::F;
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  for (int i = 0; i < kColumnGroup; i += kLanes) {
    const float* gate = sums + i / kRowsPerPanel * 2 * kRowsPerPanel + i % kRowsPerPanel;
    const F g = Isa::LoadF(gate), u = Isa::LoadF(gate + kRowsPerPanel);
    const F negated = Isa::Mul(g, Isa::Set(-1.0f));
    const F silu = Isa::Div(g, Isa::AddF(Isa::Set(1.0f), Exp<Isa>(negated)));
    Isa::StoreF(values + i, Isa::Mul(silu, u));
  }
}

template <class Isa, int kPlanes>
void SiluMul(const float* sums, int32_t tokens, int32_t group, uint8_t* const* h) {
  alignas(64) float values[kColumnGroup];
  for (int t = 0; t < tokens; ++t) {
    SiluMulGroup<Isa>(sums + t * kSumsStride, values);
    QuantizeGroup<Isa, kPlanes>(values, h[t] + group * RecordBytes(kPlanes));
  }
}

// BF16 records hold the row as it is.
template <class Isa>
void CopyBf16(const bf16* x, int32_t groups, uint8_t* records) {
  __builtin_memcpy(records, x, static_cast<size_t>(groups) * kBf16RecordBytes);
}

template <class Isa>
void SiluMulBf16(const float* sums, int32_t tokens, int32_t group, uint8_t* const* h) {
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  alignas(64) float values[kColumnGroup];
  for (int t = 0; t < tokens; ++t) {
    SiluMulGroup<Isa>(sums + t * kSumsStride, values);
    uint8_t* record = h[t] + static_cast<ptrdiff_t>(group) * kBf16RecordBytes;
    for (int i = 0; i < kColumnGroup; i += kLanes)
      Isa::StoreBf16(record + 2 * i, Isa::LoadF(values + i));
  }
}

template <class Isa>
void AddWeighted(const AddWeightedArgs& args) {
  constexpr int kLanes = kRowsPerPanel / Isa::kVecsPerPanel;
  for (int t = 0; t < args.tokens; ++t) {
    float* y = args.y[t] + args.first_row;
    const typename Isa::F weight = Isa::Set(args.weights[t]);
    for (int i = 0; i < args.rows; i += kLanes) {
      const typename Isa::F sum = Isa::LoadF(args.sums + t * kSumsStride + i);
      Isa::StoreF(y + i, Isa::Fma(weight, sum, Isa::LoadF(y + i)));
    }
  }
}

}  // namespace
}  // namespace tandem
