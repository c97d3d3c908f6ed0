// AVX-512 BF16: vdpbf16ps for BF16 activations; the INT8 modes are those of AVX-512 VNNI.
#include "cpu_experts/kernel_512_bf16.h"

namespace tandem {
namespace {

constexpr ModeKernels kBf16Mode = {kBf16RecordBytes, CopyBf16<Base512>, DotByBlocks<DpBf16Blocks>,
                                   SiluMulBf16<Base512>, kNeverEvenlySpaced};

}  // namespace

constinit const KernelTable kAvx512Bf16Table = {
    "avx512_bf16",
    {&CpuFeatures::avx512_vnni, &CpuFeatures::avx512_bf16},
    {&kIntegerMode<Base512, 1>, &kIntegerMode<Base512, 2>, &kBf16Mode},
    AddWeighted<Base512>};

}  // namespace tandem
