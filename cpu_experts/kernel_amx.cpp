// AMX: tiles for many tokens of the INT8 modes and for BF16 activations; else as AVX-512 VNNI.
#include "cpu_experts/kernel_amx.h"

namespace tandem {
namespace {

// Written as assembly: GCC 12's intrinsics take tile numbers as literals only, and do not tell the
// compiler that loads read memory, so a store of decoded weights might move past them.
struct HardwareTiles {
  TANDEM_OP void Configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  TANDEM_OP void Release() { asm volatile("tilerelease"); }
  template <int t>
  TANDEM_OP void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(t));
  }
  template <int t>
  TANDEM_OP void Load(const void* p, ptrdiff_t stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(t), "r"(p), "r"(stride) : "memory");
  }
  template <int t>
  TANDEM_OP void Store(void* p, ptrdiff_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(t), "r"(p), "r"(stride) : "memory");
  }
  template <int c, int a, int b>
  TANDEM_OP void DotInt8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
  }
  template <int c, int a, int b>
  TANDEM_OP void DotBf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
  }
};

}  // namespace

constinit const KernelTable kAmxTable = {
    "amx",
    {&CpuFeatures::avx512_vnni, &CpuFeatures::avx512_bf16, &CpuFeatures::amx_int8,
     &CpuFeatures::amx_bf16},
    {&kAmxIntegerMode<HardwareTiles, 1>, &kAmxIntegerMode<HardwareTiles, 2>,
     &kAmxBf16Mode<HardwareTiles>},
    AddWeighted<Base512>};

}  // namespace tandem
