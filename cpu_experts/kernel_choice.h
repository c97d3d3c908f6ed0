// Which kernel table runs on this machine.
#pragma once

#include <span>
#include <string>

#include "core/status.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/kernel_table.h"

namespace tandem {

// All tables compiled in, best first.
std::span<const KernelTable* const> AllKernels();

bool Runnable(const KernelTable& kernel);

// INVALID_ARGUMENT if the kernel lacks the mode: names its modes, and the kernels of this CPU that
// have it.
absl::Status CheckOffers(const KernelTable& kernel, ExpertActivations activations);

// The kernel named `forced`; if that is empty, the one named by the environment variable
// TANDEM_KERNEL; if that is empty too, the best this CPU runs that offers `activations`.
// INVALID_ARGUMENT for a name that is unknown, that this CPU cannot run or that does not offer
// `activations`: the message says what does.
absl::StatusOr<const KernelTable*> ChooseKernel(const std::string& forced,
                                                ExpertActivations activations);

}  // namespace tandem
