// The hot experts: those that lie on the device. Brings them there while a model is loaded, and
// replaces them between steps.
#pragma once

#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/device_options.h"
#include "gpu_attention/expert_device.h"

namespace tandem {

// The same number of experts in every MoE layer, evenly spaced, `fraction` of them, rounded down:
// what to do without a profile. REQUIRES: 0 <= fraction <= 1.
HotExperts SpreadHotExperts(const ModelShape& shape, double fraction);
// What the options ask for: the experts they name, else a spread fraction. [layers]
HotExperts ChooseHotExperts(const ModelShape& shape, const DeviceOptions& options);
int64_t CountExperts(const HotExperts& hot);

class HotSet {
 public:
  // With `leave_ram`, hot experts have no copy in RAM: RAM and device memory add up. All must
  // outlive the object.
  HotSet(const ModelShape& shape, ExpertDevice& device, CpuExperts& experts, bool leave_ram)
      : shape_(shape), device_(device), experts_(experts), leave_ram_(leave_ram) {}

  // Once these experts are in RAM. Errors: as ExpertDevice::MakeHot(), DATA_LOSS for a damaged one.
  absl::Status Add(LayerId layer, const std::vector<ExpertId>& experts);
  // Between two steps. Errors: INVALID_ARGUMENT when `out` is not hot or `in` is, or is unknown.
  absl::Status Replace(LayerId layer, ExpertId out, ExpertId in);

  // The same without waiting (ExpertDevice::BeginReplace()). Errors: besides, RESOURCE_EXHAUSTED
  // when no spare place is left.
  absl::Status BeginReplace(const HotReplacement& what);
  std::vector<FinishedReplacement> FinishReplaces();

 private:
  absl::Status Send(LayerId layer, ExpertId expert, const ExpertId* instead_of);
  absl::Status Check(LayerId layer, ExpertId out, ExpertId in) const;
  // Where the device is to leave an expert that RAM does not have.
  std::vector<std::span<std::byte>> MemoryOf(LayerId layer, ExpertId expert);

  const ModelShape shape_;
  ExpertDevice& device_;
  CpuExperts& experts_;
  const bool leave_ram_;
  std::vector<HotReplacement> under_way_;
};

}  // namespace tandem
