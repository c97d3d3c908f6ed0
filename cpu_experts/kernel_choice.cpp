#include "cpu_experts/kernel_choice.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cpu_experts/experts.h"

namespace tandem {
namespace {

constexpr const KernelTable* kKernels[] = {&kAvx512VnniTable, &kAvxVnniTable, &kAvx2Table,
                                           &kReferenceTable};

absl::StatusOr<const KernelTable*> FindKernel(const std::string& name, const char* origin) {
  for (const KernelTable* kernel : kKernels) {
    if (name != kernel->name) continue;
    if (Runnable(*kernel)) return kernel;
    return absl::InvalidArgumentError(
        absl::StrCat("kernel \"", name, "\" (", origin,
                     ") cannot run on this CPU, which has: ", Describe(DetectCpu())));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kernel \"", name, "\" (", origin,
                   "); known: ", absl::StrJoin(KernelNames(false), ", ")));
}

}  // namespace

std::span<const KernelTable* const> AllKernels() { return kKernels; }

bool Runnable(const KernelTable& kernel) {
  return kernel.required == nullptr || DetectCpu().*kernel.required;
}

absl::StatusOr<const KernelTable*> ChooseKernel(const std::string& forced) {
  if (!forced.empty()) return FindKernel(forced, "option");
  const char* variable = std::getenv("TANDEM_KERNEL");
  if (variable != nullptr && *variable != '\0') return FindKernel(variable, "TANDEM_KERNEL");
  for (const KernelTable* kernel : kKernels)
    if (Runnable(*kernel)) return kernel;
  return &kReferenceTable;
}

std::vector<std::string> KernelNames(bool runnable_only) {
  std::vector<std::string> names;
  for (const KernelTable* kernel : kKernels)
    if (!runnable_only || Runnable(*kernel)) names.emplace_back(kernel->name);
  return names;
}

}  // namespace tandem
