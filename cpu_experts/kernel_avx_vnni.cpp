// AVX-VNNI: 256-bit vpdpbusd for CPUs without AVX-512.
#include "cpu_experts/kernel_256.h"

namespace tandem {
namespace {

struct AvxVnni : Base256 {
  using Sum = __m256i;  // int32
  static constexpr bool kSumStartsFromTotal = true;

  TANDEM_OP Sum Dot(Sum sum, I weights, I codes) {
    return _mm256_dpbusd_avx_epi32(sum, weights, codes);
  }
};

}  // namespace

constinit const KernelTable kAvxVnniTable = {
    "avx_vnni",
    {&CpuFeatures::avx_vnni},
    {&kIntegerMode<AvxVnni, 1>, &kIntegerMode<AvxVnni, 2>, &kFloatMode<AvxVnni>},
    AddWeighted<AvxVnni>};

}  // namespace tandem
