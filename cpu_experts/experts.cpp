#include "cpu_experts/experts.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/log.h"
#include "core/memory.h"
#include "cpu_experts/kernel_choice.h"
#include "cpu_experts/moe_driver.h"
#include "cpu_experts/panel16g32.h"
#include "cpu_experts/self_check.h"

namespace tandem {
namespace {

int Planes(ExpertActivations activations) {
  return activations == ExpertActivations::kInt8 ? 1 : 2;
}

absl::Status CheckShape(const ExpertsShape& shape, const CpuExpertsOptions& options) {
  if (shape.hidden <= 0 || shape.hidden % 32 != 0 || shape.intermediate <= 0 ||
      shape.intermediate % 32 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("experts need hidden and intermediate sizes that are positive multiples of "
                     "32; got hidden ",
                     shape.hidden, ", intermediate ", shape.intermediate));
  }
  if (shape.top_k < 1 || options.max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("experts need top_k and max_tokens of at least "
                     "1; got ",
                     shape.top_k, " and ", options.max_tokens));
  }
  for (int32_t n : shape.experts) {
    if (n < 0) return absl::InvalidArgumentError("a layer has a negative number of experts");
  }
  return absl::OkStatus();
}

absl::Status CheckMatrix(const char* name, const Int4Matrix& matrix, int64_t rows, int64_t inputs) {
  const View<const uint8_t, 2>& packed = matrix.packed;
  const View<const bf16, 2>& scales = matrix.scales;
  if (packed.dim(0) == rows && packed.dim(1) == inputs / 2 && packed.stride(1) == 1 &&
      scales.dim(0) == rows && scales.dim(1) == inputs / 32 && scales.stride(1) == 1) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "expert matrix %s: expected packed [%d, %d] and scales [%d, %d], got [%d, %d] and [%d, %d]",
      name, rows, inputs / 2, rows, inputs / 32, packed.dim(0), packed.dim(1), scales.dim(0),
      scales.dim(1)));
}

// The weights are asked for lazily, so the system would say yes to anything: look at the RAM first.
absl::Status CheckFits(int64_t weight_bytes) {
  const int64_t ram = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  if (weight_bytes <= ram) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the routed experts take %.1f GB of RAM and this machine has %.1f GB",
                      weight_bytes * 1e-9, ram * 1e-9));
}

class PanelExperts final : public CpuExperts {
 public:
  PanelExperts(const ExpertsShape& shape, const CpuExpertsOptions& options,
               const KernelTable& kernel, MoeDriver driver)
      : shape_(shape),
        max_tokens_(options.max_tokens),
        layout_{shape.hidden, shape.intermediate},
        kernel_(kernel),
        driver_(std::move(driver)) {}

  absl::Status Reserve() {
    for (int32_t n : shape_.experts) {
      TANDEM_ASSIGN_OR_RETURN(NumaBuffer layer, NumaBuffer::Allocate(n * layout_.bytes()));
      layers_.push_back(std::move(layer));
      loaded_.emplace_back(n, false);
    }
    return absl::OkStatus();
  }

  absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) override {
    if (layer.value < 0 || layer.value >= static_cast<int>(layers_.size()) || expert.value < 0 ||
        expert.value >= shape_.experts[layer.value]) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no expert ", expert.value, " in layer ", layer.value));
    }
    TANDEM_RETURN_IF_ERROR(CheckMatrix("gate", weights.gate, layout_.intermediate, layout_.hidden));
    TANDEM_RETURN_IF_ERROR(CheckMatrix("up", weights.up, layout_.intermediate, layout_.hidden));
    TANDEM_RETURN_IF_ERROR(CheckMatrix("down", weights.down, layout_.hidden, layout_.intermediate));
    PackExpert(layout_, weights,
               layers_[layer.value].as<uint8_t>() + expert.value * layout_.bytes());
    loaded_[layer.value][expert.value] = 1;
    return absl::OkStatus();
  }

  void Forward(LayerId layer, const RoutedTokens& in, View<float, 2> y) override {
    const int64_t tokens = in.hidden.dim(0);
    TANDEM_CHECK(layer.value >= 0 && layer.value < static_cast<int>(layers_.size()),
                 "the layer exists");
    TANDEM_CHECK(tokens <= max_tokens_, "max_tokens bounds a step");
    TANDEM_CHECK(in.hidden.dim(1) == layout_.hidden && in.hidden.stride(1) == 1,
                 "hidden is [tokens, hidden] with contiguous rows");
    TANDEM_CHECK(in.expert_ids.dim(0) == tokens && in.expert_ids.dim(1) <= shape_.top_k,
                 "expert_ids is [tokens, top_k]");
    TANDEM_CHECK(in.weights.shape() == in.expert_ids.shape(), "one weight per expert id");
    TANDEM_CHECK(y.dim(0) == tokens && y.dim(1) == layout_.hidden && y.stride(1) == 1,
                 "y is [tokens, hidden] with contiguous rows");
    CheckLoaded(layer, in.expert_ids);
    driver_.Forward(layers_[layer.value].as<uint8_t>(), shape_.experts[layer.value], in, y);
  }

  std::string kernel_name() const override { return kernel_.name; }
  int64_t expert_bytes() const override { return layout_.bytes(); }
  int64_t weight_bytes() const override {
    int64_t experts = 0;
    for (int32_t n : shape_.experts) experts += n;
    return experts * layout_.bytes();
  }

 private:
  void CheckLoaded(LayerId layer, View<const int32_t, 2> ids) const {
    const std::vector<uint8_t>& loaded = loaded_[layer.value];
    for (int64_t t = 0; t < ids.dim(0); ++t) {
      for (int64_t k = 0; k < ids.dim(1); ++k) {
        const int32_t expert = ids(t, k);
        if (expert < 0) continue;
        TANDEM_CHECK(expert < static_cast<int32_t>(loaded.size()) && loaded[expert] != 0,
                     "every expert named was loaded");
      }
    }
  }

  const ExpertsShape shape_;
  const int64_t max_tokens_;
  const ExpertLayout layout_;
  const KernelTable& kernel_;
  MoeDriver driver_;
  std::vector<NumaBuffer> layers_;
  // [layer][expert]; bytes, not bits: different experts are loaded from different threads.
  std::vector<std::vector<uint8_t>> loaded_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CpuExperts>> CpuExperts::Create(const ExpertsShape& shape,
                                                               const CpuExpertsOptions& options,
                                                               WorkerTeam& team) {
  TANDEM_RETURN_IF_ERROR(CheckShape(shape, options));
  TANDEM_ASSIGN_OR_RETURN(const KernelTable* kernel, ChooseKernel(options.kernel));
  const int planes = Planes(options.activations);
  TANDEM_RETURN_IF_ERROR(SelfCheck(*kernel, planes));

  MoeDriverShape driver_shape;
  driver_shape.layout = {shape.hidden, shape.intermediate};
  for (int32_t n : shape.experts) driver_shape.max_experts = std::max(driver_shape.max_experts, n);
  driver_shape.top_k = shape.top_k;
  driver_shape.max_tokens = options.max_tokens;
  driver_shape.planes = planes;
  TANDEM_ASSIGN_OR_RETURN(MoeDriver driver, MoeDriver::Create(driver_shape, *kernel, team));
  auto experts = std::make_unique<PanelExperts>(shape, options, *kernel, std::move(driver));
  TANDEM_RETURN_IF_ERROR(CheckFits(experts->weight_bytes()));
  TANDEM_RETURN_IF_ERROR(experts->Reserve());
  LogInfo("experts: kernel {}, activations {}, {:.2f} GB of weights, {} workers", kernel->name,
          planes == 1 ? "int8" : "int8x2", experts->weight_bytes() * 1e-9, team.size());
  return experts;
}

}  // namespace tandem
