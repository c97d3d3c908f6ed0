// Every kernel table that tests run: those of the product, and the ones over emulations.
#pragma once

#include <ostream>
#include <vector>

#include "cpu_experts/kernel_choice.h"
#include "cpu_experts/kernel_table.h"

namespace tandem {
// The sources of the wider kernels, compiled over SIMDe and emulated tiles.
extern constinit const KernelTable kAvx512VnniSimdeTable;
extern constinit const KernelTable kAvxVnniSimdeTable;
extern constinit const KernelTable kAvx512Bf16SimdeTable;
extern constinit const KernelTable kAmxEmulatedTable;
}  // namespace tandem

namespace tandem::test {

struct Implementation {
  const char* name;
  const KernelTable* table;
  bool emulated = false;
};
inline std::ostream& operator<<(std::ostream& out, const Implementation& i) {
  return out << i.name;
}

inline const Implementation kImplementations[] = {
    {"reference", &kReferenceTable},
    {"avx2", &kAvx2Table},
    {"avx_vnni", &kAvxVnniTable},
    {"avx512_vnni", &kAvx512VnniTable},
    {"avx512_bf16", &kAvx512Bf16Table},
    {"amx", &kAmxTable},
    {"avx_vnni_simde", &kAvxVnniSimdeTable, true},
    {"avx512_vnni_simde", &kAvx512VnniSimdeTable, true},
    {"avx512_bf16_simde", &kAvx512Bf16SimdeTable, true},
    {"amx_emulated", &kAmxEmulatedTable, true},
};

// SIMDe itself was compiled for AVX2 here.
inline bool CanRun(const Implementation& i) {
  return i.emulated ? DetectCpu().avx2 : Runnable(*i.table);
}

inline std::vector<Implementation> RunnableImplementations() {
  std::vector<Implementation> runnable;
  for (const Implementation& i : kImplementations)
    if (CanRun(i)) runnable.push_back(i);
  return runnable;
}

inline constexpr ExpertActivations kModes[] = {ExpertActivations::kInt8, ExpertActivations::kInt8x2,
                                               ExpertActivations::kBf16};

}  // namespace tandem::test
