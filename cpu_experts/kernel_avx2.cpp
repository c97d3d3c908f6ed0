// AVX2: vpmaddubsw multiplies 32 nibbles (0..15) by 32 codes and adds pairs in int16. A group adds
// 8 such products per lane: at most 8 * 2 * 15 * 127 = 30,480, so int16 never saturates.
#include "cpu_experts/kernel_256.h"

namespace tandem {
namespace {

struct Avx2 : Base256 {
  using Sum = __m256i;  // int16
  static constexpr bool kSumStartsFromTotal = false;

  TANDEM_OP Sum Dot(Sum sum, I weights, I codes) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, codes));
  }
  TANDEM_OP I Finish(Sum sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
};

}  // namespace

constinit const KernelTable kAvx2Table = {
    "avx2",
    {&CpuFeatures::avx2},
    {&kIntegerMode<Avx2, 1>, &kIntegerMode<Avx2, 2>, &kFloatMode<Avx2>},
    AddWeighted<Avx2>};

}  // namespace tandem
