// How activations meet the INT4 weights: three modes, and the rows of records that hold them.
//
// A row of `inputs` values is one record per group of 32:
//   kInt8    float scale; int32 correction; int8 q[32]
//            x ~ scale * q, q in [-127, 127], scale = max|x| / 127
//   kInt8x2  float scale; int32 correction[2]; int8 q[2][32]
//            x ~ scale * (128 q[0] + q[1]), scale = max|x| / 16256, about 15 bits
//   kBf16    bf16 x[32]
// correction[p] = -8 * sum(q[p]): weights enter the integer dot products as value + 8.
#pragma once

#include <cstdint>

namespace tandem {

enum class ExpertActivations {
  kInt8,    // one INT8 pass per group of 32
  kInt8x2,  // two INT8 passes, high and low part
  kBf16,    // BF16 activations, weights dequantised to BF16 (value * scale, rounded), F32 sums:
            // the numerics of the model's own reference
};
constexpr int kActivationModes = 3;

constexpr int kActivationGroup = 32;
constexpr int kMaxPlanes = 2;   // INT8 passes: one or two planes of codes
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
constexpr int kBf16RecordBytes = 2 * kActivationGroup;

}  // namespace tandem
