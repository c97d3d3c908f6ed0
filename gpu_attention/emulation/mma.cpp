#include "gpu_attention/emulation/mma.h"

#include <cstring>

namespace tandem::emulated {
namespace {

float Low(uint32_t pair) { return ToFloat(bf16{static_cast<uint16_t>(pair)}); }
float High(uint32_t pair) { return ToFloat(bf16{static_cast<uint16_t>(pair >> 16)}); }

struct MmaArgument {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

using Floats8 [[gnu::vector_size(32)]] = float;

// d += a b. Four rows at a time stay in registers.
[[gnu::always_inline]] inline void MultiplyBody(const float (*a)[16], const float (*b)[8],
                                                float (*d)[8]) {
  for (int row = 0; row < 16; row += 4) {
    Floats8 sums[4];
    std::memcpy(sums, d[row], sizeof(sums));
    for (int k = 0; k < 16; ++k) {
      Floats8 b_row;
      std::memcpy(&b_row, b[k], sizeof(b_row));
      for (int r = 0; r < 4; ++r) sums[r] += a[row + r][k] * b_row;
    }
    std::memcpy(d[row], sums, sizeof(sums));
  }
}
void Multiply(const float (*a)[16], const float (*b)[8], float (*d)[8]) { MultiplyBody(a, b, d); }
[[gnu::target("avx2")]] void MultiplyAvx2(const float (*a)[16], const float (*b)[8],
                                          float (*d)[8]) {
  MultiplyBody(a, b, d);
}

// The fragments' layout is in gpu_attention/cuda/mma.cuh.
void MultiplyWarp(void* const* arguments) {
  alignas(64) float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& my = *static_cast<const MmaArgument*>(arguments[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
      a[row][column] = Low(my.a[i]), a[row][column + 1] = High(my.a[i]);
      d[g + i / 2 * 8][2 * t + i % 2] = my.d[i];
    }
    for (int i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = Low(my.b[i]), b[2 * t + 8 * i + 1][g] = High(my.b[i]);
    }
  }
  static const bool kAvx2 = __builtin_cpu_supports("avx2");
  kAvx2 ? MultiplyAvx2(a, b, d) : Multiply(a, b, d);
  for (int lane = 0; lane < 32; ++lane) {
    float* out = static_cast<const MmaArgument*>(arguments[lane])->d;
    for (int i = 0; i < 4; ++i) out[i] = d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
  }
}

struct LoadArgument {
  uint32_t* r;
  const bf16* row;
};

template <bool kTransposed>
void LoadWarp(void* const* arguments) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const auto element = [&](int row, int column) -> uint32_t {
        return static_cast<const LoadArgument*>(arguments[8 * i + row])->row[column].bits;
      };
      const int g = lane / 4, t = 2 * (lane % 4);
      static_cast<const LoadArgument*>(arguments[lane])->r[i] =
          kTransposed ? element(t, g) | element(t + 1, g) << 16
                      : element(g, t) | element(g, t + 1) << 16;
    }
  }
}

}  // namespace

void Mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where where) {
  MmaArgument mine = {d, a, b};
  WaitForWarp("Mma16816", &mine, MultiplyWarp, where);
}

void LoadMatrix4(uint32_t (&r)[4], Shared<const bf16> row, Where where) {
  LoadArgument mine = {r, row.Access(16, 16)};
  WaitForWarp("LoadMatrix4", &mine, LoadWarp<false>, where);
}

void LoadMatrix4Transposed(uint32_t (&r)[4], Shared<const bf16> row, Where where) {
  LoadArgument mine = {r, row.Access(16, 16)};
  WaitForWarp("LoadMatrix4Transposed", &mine, LoadWarp<true>, where);
}

}  // namespace tandem::emulated
