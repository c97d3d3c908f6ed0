// AVX2: 256-bit loads; vpmaddubsw with the vpaddw that every use of it needs; FMA.
#include <immintrin.h>

#include "bench/roofline_table.h"

namespace tandem {
namespace {

uint64_t Read(const void* data, int64_t bytes) {
  const auto* p = static_cast<const __m256i*>(data);
  __m256i sum[8] = {};
  for (int64_t i = 0; i < bytes / 32; i += 8) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sum[j] = _mm256_xor_si256(sum[j], _mm256_loadu_si256(p + i + j));
  }
  for (int j = 1; j < 8; ++j) sum[0] = _mm256_xor_si256(sum[0], sum[j]);
  return static_cast<uint64_t>(_mm256_extract_epi64(sum[0], 0) ^ _mm256_extract_epi64(sum[0], 3));
}

// Written as assembly: a compiler would drop sums that nobody reads.
int64_t Int8Dots(int64_t rounds) {
  constexpr int kChains = 10, kOperations = 64;
  __m256i sum[kChains] = {};
  const __m256i weights = _mm256_set1_epi8(3), codes = _mm256_set1_epi8(-5);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int j = 0; j < kChains; ++j) {
      __m256i product;
      asm volatile("vpmaddubsw %2, %3, %0\n\tvpaddw %0, %1, %1"
                   : "=&x"(product), "+x"(sum[j])
                   : "x"(codes), "x"(weights));
    }
  }
  return rounds * kChains * kOperations;
}

int64_t Fmas(int64_t rounds) {
  constexpr int kChains = 12, kOperations = 16;
  __m256 sum[kChains] = {};
  const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.5f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j)
      asm volatile("vfmadd231ps %2, %1, %0" : "+x"(sum[j]) : "x"(a), "x"(b));
  }
  return rounds * kChains * kOperations;
}

}  // namespace

constinit const RooflineTable kAvx2RooflineTable = {"avx2", &CpuFeatures::avx2, Read, Int8Dots,
                                                    Fmas};

}  // namespace tandem
