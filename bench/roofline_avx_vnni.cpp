// AVX-VNNI: 256-bit vpdpbusd; the rest is AVX2's.
#include <immintrin.h>

#include "bench/roofline_table.h"

namespace tandem {
namespace {

int64_t Int8Dots(int64_t rounds) {
  constexpr int kChains = 12, kOperations = 64;
  __m256i sum[kChains] = {};
  const __m256i weights = _mm256_set1_epi8(3), codes = _mm256_set1_epi8(-5);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j)
      asm volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum[j]) : "x"(weights), "x"(codes));
  }
  return rounds * kChains * kOperations;
}

}  // namespace

constinit const RooflineTable kAvxVnniRooflineTable = {"avx_vnni", &CpuFeatures::avx_vnni, nullptr,
                                                       Int8Dots, nullptr};

}  // namespace tandem
