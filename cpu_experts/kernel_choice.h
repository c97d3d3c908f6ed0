// Which kernel table runs on this machine.
#pragma once

#include <span>
#include <string>

#include "core/status.h"
#include "cpu_experts/kernel_table.h"

namespace tandem {

// All tables compiled in, best first.
std::span<const KernelTable* const> AllKernels();

bool Runnable(const KernelTable& kernel);

// The kernel named `forced`; if that is empty, the one named by the environment variable
// TANDEM_KERNEL; if that is empty too, the best this CPU runs. INVALID_ARGUMENT for a name that is
// unknown or that this CPU cannot run.
absl::StatusOr<const KernelTable*> ChooseKernel(const std::string& forced);

}  // namespace tandem
