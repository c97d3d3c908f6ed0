#include "cpu_experts/kernel_choice.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr const KernelTable* kKernels[] = {&kAmxTable,     &kAvx512Bf16Table, &kAvx512VnniTable,
                                           &kAvxVnniTable, &kAvx2Table,       &kReferenceTable};

constexpr ExpertActivations kModes[kActivationModes] = {
    ExpertActivations::kInt8, ExpertActivations::kInt8x2, ExpertActivations::kBf16};

// Of the kernels this CPU runs.
std::vector<std::string> KernelsOffering(ExpertActivations activations) {
  std::vector<std::string> names;
  for (const KernelTable* kernel : kKernels)
    if (Runnable(*kernel) && kernel->mode(activations) != nullptr) names.emplace_back(kernel->name);
  return names;
}

absl::StatusOr<const KernelTable*> FindKernel(const std::string& name, const char* origin,
                                              ExpertActivations activations) {
  for (const KernelTable* kernel : kKernels) {
    if (name != kernel->name) continue;
    if (!Runnable(*kernel))
      return absl::InvalidArgumentError(
          absl::StrCat("kernel \"", name, "\" (", origin,
                       ") cannot run on this CPU, which has: ", Describe(DetectCpu())));
    TANDEM_RETURN_IF_ERROR(CheckOffers(*kernel, activations));
    return kernel;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kernel \"", name, "\" (", origin,
                   "); known: ", absl::StrJoin(KernelNames(false), ", ")));
}

}  // namespace

std::span<const KernelTable* const> AllKernels() { return kKernels; }

bool Runnable(const KernelTable& kernel) {
  for (bool CpuFeatures::*required : kernel.required)
    if (required != nullptr && !(DetectCpu().*required)) return false;
  return true;
}

absl::Status CheckOffers(const KernelTable& kernel, ExpertActivations activations) {
  if (kernel.mode(activations) != nullptr) return absl::OkStatus();
  std::vector<std::string> offered;
  for (ExpertActivations mode : kModes)
    if (kernel.mode(mode) != nullptr) offered.emplace_back(NameOf(mode));
  return absl::InvalidArgumentError(absl::StrCat(
      "kernel \"", kernel.name, "\" has no ", NameOf(activations), " activations, it has ",
      absl::StrJoin(offered, ", "), "; on this CPU ", NameOf(activations),
      " is offered by: ", absl::StrJoin(KernelsOffering(activations), ", ")));
}

absl::StatusOr<const KernelTable*> ChooseKernel(const std::string& forced,
                                                ExpertActivations activations) {
  if (!forced.empty()) return FindKernel(forced, "option", activations);
  const char* variable = std::getenv("TANDEM_KERNEL");
  if (variable != nullptr && *variable != '\0')
    return FindKernel(variable, "TANDEM_KERNEL", activations);
  for (const KernelTable* kernel : kKernels)
    if (Runnable(*kernel) && kernel->mode(activations) != nullptr) return kernel;
  return &kReferenceTable;
}

std::vector<std::string> KernelNames(bool runnable_only) {
  std::vector<std::string> names;
  for (const KernelTable* kernel : kKernels)
    if (!runnable_only || Runnable(*kernel)) names.emplace_back(kernel->name);
  return names;
}

const char* NameOf(ExpertActivations activations) {
  switch (activations) {
    case ExpertActivations::kInt8:
      return "int8";
    case ExpertActivations::kInt8x2:
      return "int8x2";
    case ExpertActivations::kBf16:
      return "bf16";
  }
  return "?";
}

std::vector<std::string> ExpertActivationsNames() {
  std::vector<std::string> names;
  for (ExpertActivations mode : kModes) names.emplace_back(NameOf(mode));
  return names;
}

absl::StatusOr<ExpertActivations> ParseExpertActivations(const std::string& name) {
  for (ExpertActivations mode : kModes)
    if (name == NameOf(mode)) return mode;
  return absl::InvalidArgumentError(absl::StrCat("unknown activations \"", name, "\"; known: ",
                                                 absl::StrJoin(ExpertActivationsNames(), ", ")));
}

}  // namespace tandem
