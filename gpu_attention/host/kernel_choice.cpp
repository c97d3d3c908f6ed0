#include "gpu_attention/host/kernel_choice.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/cpu_features.h"
#include "gpu_attention/host/linear.h"

namespace tandem {
namespace {

struct Entry {
  const DenseKernels* kernels;
  bool (*runs_on)(const CpuFeatures&);
};

constexpr Entry kBestFirst[] = {
    {&kDenseTableAvx512, [](const CpuFeatures& f) { return f.avx512_vnni; }},
    {&kDenseTableAvx2, [](const CpuFeatures& f) { return f.avx2; }},
    {&kDenseTableScalar, [](const CpuFeatures&) { return true; }},
};

// Deterministic numbers in [-1, 1], no two neighbours alike.
float Sample(int64_t i) { return std::sin(static_cast<float>(i) * 1.7f + 0.3f); }

absl::Status CheckLinear(const DenseKernels& kernels, WeightFormat format) {
  constexpr int32_t kRows = 40, kCols = 200, kTokens = 13;
  std::vector<float> w(kRows * kCols), x(kTokens * kCols);
  for (size_t i = 0; i < w.size(); ++i) w[i] = Sample(i);
  for (size_t i = 0; i < x.size(); ++i) x[i] = Sample(i + 12345);
  TANDEM_ASSIGN_OR_RETURN(PackedMatrix packed, PackedMatrix::Allocate(format, kRows, kCols));
  packed.Pack(View<const float, 2>(w.data(), {kRows, kCols}), 0, 0, nullptr);
  TANDEM_ASSIGN_OR_RETURN(ActivationBuffer buffer, ActivationBuffer::Allocate(kTokens, kCols));

  const int32_t out = packed.padded_rows();
  std::vector<float> got(kTokens * out, NAN), want(kTokens * out, NAN);
  const View<const float, 2> rows(x.data(), {kTokens, kCols});
  for (auto [table, y] : {std::pair{&kernels, &got}, std::pair{&kDenseTableScalar, &want}}) {
    const LinearInput in = buffer.Prepare(*table, format, rows, nullptr);
    LinearPanelRange(*table, packed, 0, 0, packed.panels(), in, y->data(), out);
  }
  if (std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) != 0) {
    return absl::InternalError(absl::StrCat("dense kernel ", kernels.name,
                                            " fails its self-check on this CPU; set "
                                            "TANDEM_DENSE_KERNEL to another one and report this"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<const DenseKernels*> AllDenseKernels(bool runnable_only) {
  std::vector<const DenseKernels*> all;
  for (const Entry& e : kBestFirst)
    if (!runnable_only || e.runs_on(DetectCpu())) all.push_back(e.kernels);
  return all;
}

absl::Status SelfCheck(const DenseKernels& kernels) {
  for (WeightFormat format : {WeightFormat::kBf16, WeightFormat::kF32, WeightFormat::kInt8})
    TANDEM_RETURN_IF_ERROR(CheckLinear(kernels, format));
  return absl::OkStatus();
}

absl::StatusOr<const DenseKernels*> ChooseDenseKernels(const std::string& name) {
  const char* forced = std::getenv("TANDEM_DENSE_KERNEL");
  const std::string wanted = !name.empty() ? name : forced != nullptr ? forced : "";
  for (const DenseKernels* kernels : AllDenseKernels(true)) {
    if (!wanted.empty() && wanted != kernels->name) continue;
    TANDEM_RETURN_IF_ERROR(SelfCheck(*kernels));
    return kernels;
  }
  std::vector<std::string> names;
  for (const DenseKernels* kernels : AllDenseKernels(true)) names.push_back(kernels->name);
  return absl::InvalidArgumentError(
      absl::StrCat("dense kernel \"", wanted, "\" is unknown or not for this CPU (",
                   Describe(DetectCpu()), "); it can run: ", absl::StrJoin(names, ", ")));
}

}  // namespace tandem
