// Quantised activations: what the kernels multiply the INT4 weights with.
//
// A row of `inputs` values is one record per group of 32:
//   float scale; int32 correction[planes]; int8 q[planes][32]
// One plane (kInt8): x ~ scale * q, q in [-127, 127], scale = max|x| / 127.
// Two planes (kInt8x2): x ~ scale * (128 q[0] + q[1]), scale = max|x| / 16256, about 15 bits.
// correction[p] = -8 * sum(q[p]): weights enter the dot products as value + 8.
#pragma once

#include <cstdint>

namespace tandem {

constexpr int kActivationGroup = 32;
constexpr int kMaxPlanes = 2;
constexpr int kPlaneShift = 7;  // a high plane counts 1 << 7 low ones
constexpr float kLargestCode[kMaxPlanes] = {127.0f, 127.0f * 128.0f};  // by planes - 1
// Groups smaller than this are zero: 1 / scale stays finite.
constexpr float kSmallestActivation = 1e-30f;

// Always inlined: ISA files may not emit functions that others could link to.
[[gnu::always_inline]] constexpr int CorrectionOffset(int plane) { return 4 + 4 * plane; }
[[gnu::always_inline]] constexpr int CodesOffset(int planes, int plane) {
  return 4 + 4 * planes + kActivationGroup * plane;
}
[[gnu::always_inline]] constexpr int RecordBytes(int planes) { return CodesOffset(planes, planes); }
[[gnu::always_inline]] constexpr int64_t RowBytes(int64_t inputs, int planes) {
  return inputs / kActivationGroup * RecordBytes(planes);
}

}  // namespace tandem
