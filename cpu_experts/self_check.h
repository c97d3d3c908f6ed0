// A kernel must reproduce a known answer before it may compute anything that matters.
#pragma once

#include "core/status.h"
#include "cpu_experts/kernel_table.h"

namespace tandem {

// Runs a small fixed expert through every mode of `kernel` with every token count class (1, few,
// many) and compares with the scalar specification. INTERNAL naming kernel, mode and element.
absl::Status SelfCheck(const KernelTable& kernel);

}  // namespace tandem
