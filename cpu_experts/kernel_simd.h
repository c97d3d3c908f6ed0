// The intrinsics of an ISA file: the compiler's, or those of the header that a test names to run
// the same source on a CPU without the instructions.
#pragma once

#ifdef TANDEM_SIMD_HEADER
#include TANDEM_SIMD_HEADER
#else
#include <immintrin.h>
#endif

#include "cpu_experts/kernel_body.h"
