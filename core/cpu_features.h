// What this CPU can execute: CPUID, and whether the system saves the registers (XCR0), and for AMX
// whether the kernel granted the tiles to this process.
#pragma once

#include <string>

namespace tandem {

struct CpuFeatures {
  bool avx2 = false;         // AVX2 + FMA + F16C
  bool avx_vnni = false;     // 256-bit VNNI in VEX encoding
  bool avx512 = false;       // F + BW + DQ + VL
  bool avx512_vnni = false;  // implies avx512
  bool avx512_bf16 = false;  // implies avx512
  bool amx_int8 = false;     // granted to this process
  bool amx_bf16 = false;
  std::string brand;  // e.g. "AMD EPYC 9654 96-Core Processor"
};

// Detected once, at the first call (which also asks the kernel for AMX tiles). Thread-safe.
const CpuFeatures& DetectCpu();

// Names of the features present, e.g. "avx2 avx512 avx512_vnni"; "baseline" when none.
std::string Describe(const CpuFeatures& features);

}  // namespace tandem
