// A kernel must reproduce a known answer before it may compute anything that matters.
#pragma once

#include "core/status.h"
#include "cpu_experts/kernel_table.h"

namespace tandem {

// Runs a small fixed MoE layer through `kernel` with every token count class (1, few, many) and
// compares with the scalar specification. INTERNAL naming the kernel and the worst element.
absl::Status SelfCheck(const KernelTable& kernel, int planes);

}  // namespace tandem
