// AVX-512 VNNI: vpdpbusd for the INT8 modes; F32 FMAs for BF16 activations.
#include "cpu_experts/kernel_512.h"

namespace tandem {

constinit const KernelTable kAvx512VnniTable = {
    "avx512_vnni",
    {&CpuFeatures::avx512_vnni},
    {&kIntegerMode<Base512, 1>, &kIntegerMode<Base512, 2>, &kFloatMode<Base512>},
    AddWeighted<Base512>};

}  // namespace tandem
