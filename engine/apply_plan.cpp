#include "engine/apply_plan.h"

#include "gpu_attention/gpu_query.h"

namespace tandem {
namespace {

ExpertPlacements PlacementsOf(const Plan& plan) {
  ExpertPlacements placements;
  for (const auto& layer : plan.numa) {
    auto& experts = placements.emplace_back();
    for (const NumaChoice& choice : layer) {
      const ExpertHome home = choice.home == NumaHome::kSharded ? ExpertHome::kSharded
                              : choice.home == NumaHome::kWhole ? ExpertHome::kWhole
                                                                : ExpertHome::kReplicated;
      experts.push_back({home, choice.node});
    }
  }
  return placements;
}

absl::Status ChooseDevice(const Plan& plan, DeviceOptions& device) {
  if (!plan.gpu) {
    if (device.device == Device::kAuto) device.device = Device::kCpu;
    return absl::OkStatus();
  }
  if (device.device == Device::kCpu)
    return absl::InvalidArgumentError("the plan puts the dense side on a GPU, --device says cpu");
  if (device.device != Device::kAuto) return absl::OkStatus();
  if (QueryGpus().gpus.empty()) {
    return absl::FailedPreconditionError(
        "the plan puts the dense side on a GPU, and none was found here: plan with --no-gpu, or "
        "make one for this machine");
  }
  device.device = Device::kCuda;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EngineOptions> ApplyPlan(const Plan& plan, const ModelIdentity& model,
                                        EngineOptions options) {
  TANDEM_RETURN_IF_ERROR(CheckSameModel("the plan", plan.model, model));
  TANDEM_RETURN_IF_ERROR(ChooseDevice(plan, options.device));
  options.max_step_tokens = plan.prefill.chunk_tokens;
  if (options.kv_tokens == 0) options.kv_tokens = plan.kv_tokens;
  // A mapped file lies where its image was cut to lie.
  if (options.expert_placements.empty() && plan.disk_experts() == 0)
    options.expert_placements = PlacementsOf(plan);
  if (plan.disk_experts() > 0) {
    if (options.expert_load.memory == ExpertsMemory::kCopy) {
      return absl::InvalidArgumentError(
          "the plan leaves experts on disk, --experts-memory copy wants all of them in RAM");
    }
    options.expert_load.memory = ExpertsMemory::kMap;
  }
  if (!plan.gpu) return options;
  DeviceOptions& device = options.device;
  if (device.hot_fraction == 0 && device.hot_experts.empty()) {
    device.hot_experts = plan.hot;
    device.hot_experts_leave_ram = plan.hot_experts_leave_ram;
  }
  if (!plan.prefill.stream) device.stream = StreamExperts::kNever;
  device.stream_buffer_bytes = plan.goals.stream_buffer_bytes;
  return options;
}

}  // namespace tandem
