// AVX-512 VNNI: 512-bit loads, vpdpbusd and FMA.
#include <immintrin.h>

#include "bench/roofline_table.h"

namespace tandem {
namespace {

uint64_t Read(const void* data, int64_t bytes) {
  const auto* p = static_cast<const char*>(data);
  __m512i sum[8] = {};
  for (int64_t i = 0; i < bytes; i += 512) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j)
      sum[j] = _mm512_xor_si512(sum[j], _mm512_loadu_si512(p + i + 64 * j));
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm512_xor_si512(sum[0], sum[j]);
  uint64_t lanes[8];
  _mm512_storeu_si512(lanes, sum[0]);
  return lanes[0] ^ lanes[7];
}

// Written as assembly: a compiler would drop sums that nobody reads.
int64_t Int8Dots(int64_t rounds) {
  constexpr int kChains = 16, kOperations = 128;
  __m512i sum[kChains] = {};
  const __m512i weights = _mm512_set1_epi8(3), codes = _mm512_set1_epi8(-5);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j)
      asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum[j]) : "v"(weights), "v"(codes));
  }
  return rounds * kChains * kOperations;
}

int64_t Fmas(int64_t rounds) {
  constexpr int kChains = 16, kOperations = 32;
  __m512 sum[kChains] = {};
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.5f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j)
      asm volatile("vfmadd231ps %2, %1, %0" : "+v"(sum[j]) : "v"(a), "v"(b));
  }
  return rounds * kChains * kOperations;
}

}  // namespace

constinit const RooflineTable kAvx512VnniRooflineTable = {"avx512_vnni", &CpuFeatures::avx512_vnni,
                                                          Read, Int8Dots, Fmas};

}  // namespace tandem
