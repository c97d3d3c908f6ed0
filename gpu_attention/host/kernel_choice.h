// Which kernel table runs: the best this CPU supports, or the one that was asked for.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "gpu_attention/host/dense_kernels.h"

namespace tandem {

// Tables compiled in, best first; only the ones this CPU can run if `runnable_only`.
std::vector<const DenseKernels*> AllDenseKernels(bool runnable_only);

// `name` or, if that is empty, the environment variable TANDEM_DENSE_KERNEL forces a table; else
// the best one is taken. Errors: INVALID_ARGUMENT for an unknown name or one that this CPU cannot
// run; INTERNAL if the table fails to reproduce what the scalar one computes.
absl::StatusOr<const DenseKernels*> ChooseDenseKernels(const std::string& name);

// Runs every linear kernel on a small known input; they must agree with the scalar table bit for
// bit. INTERNAL naming the first that does not.
absl::Status SelfCheck(const DenseKernels& kernels);

}  // namespace tandem
