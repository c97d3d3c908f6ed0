#include "bench/calibration.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "bench/calibrate_dense.h"
#include "bench/calibrate_engine.h"
#include "bench/calibrate_experts.h"
#include "bench/calibrate_memory.h"
#include "core/log.h"
#include "core/worker_team.h"

namespace tandem {
namespace {

// Measuring, for one shape; loading comes on top.
constexpr double kExpertSeconds = 5, kDenseSeconds = 6, kNodeSeconds = 1, kDiskSeconds = 2,
                 kEngineSeconds = 0.3;

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &utc);
  return text;
}

void Put(ExpertCurve curve, MachineRates& rates) {
  std::erase_if(rates.experts, [&](const ExpertCurve& old) {
    return old.hidden == curve.hidden && old.intermediate == curve.intermediate;
  });
  rates.experts.push_back(std::move(curve));
}

void Put(DenseCurve curve, MachineRates& rates) {
  std::erase_if(rates.dense, [&](const DenseCurve& old) { return old.key == curve.key; });
  rates.dense.push_back(std::move(curve));
}

class Calibration {
 public:
  Calibration(const CalibrationOptions& options, Machine& machine)
      : options_(options), machine_(machine) {}

  // On a thread of its own, which is pinned as the engine's is.
  absl::Status Run() {
    MachineRates& rates = machine_.rates;
    {
      TANDEM_ASSIGN_OR_RETURN(const EngineCalibration engine,
                              CalibrateEngine(options_.threads, kEngineSeconds * options_.effort));
      rates.step_us = engine.step_us;
      rates.row_us = engine.row_us;
    }
    WorkerTeam team({.workers = options_.threads});
    for (const std::string& warning : team.warnings()) LogWarning("{}", warning);
    team.PinCaller();
    TANDEM_RETURN_IF_ERROR(Gpu(team));  // first: it fails early
    {
      const WorkerTeam::Awake awake(team);
      rates.dispatch_us = DispatchSeconds(team) * 1e6;
      for (const ModelShape& shape : options_.shapes) TANDEM_RETURN_IF_ERROR(Measure(shape, team));
    }
    if (machine_.nodes.size() > 1) TANDEM_RETURN_IF_ERROR(Nodes());
    if (!options_.disk_path.empty()) {
      Say("disk");
      TANDEM_ASSIGN_OR_RETURN(rates.disk_gb_per_s,
                              DiskReadRate(options_.disk_path, kDiskSeconds * options_.effort));
    }
    rates.source = MachineRates::Source::kCalibrated;
    rates.when = UtcNow();
    return absl::OkStatus();
  }

 private:
  void Say(const std::string& part) const {
    if (options_.on_part) options_.on_part(part);
  }
  ExpertCalibrationOptions ExpertOptions(double seconds) const {
    return {options_.activations, options_.kernel, seconds * options_.effort};
  }

  absl::Status Measure(const ModelShape& shape, WorkerTeam& team) {
    MachineRates& rates = machine_.rates;
    if (shape.moe_layers() > 0) {
      Say(absl::StrCat("experts of ", shape.hidden, " x ", shape.expert_intermediate));
      TANDEM_ASSIGN_OR_RETURN(const ExpertCalibration experts,
                              CalibrateExperts(shape, ExpertOptions(kExpertSeconds), team));
      Put(experts.curve, rates);
      KeepLargest(shape, experts);
    }
    for (const int32_t bits : options_.weight_bits) {
      Say(absl::StrCat("dense side of ", shape.hidden, ", ", bits == 8 ? "INT8" : "BF16"));
      TANDEM_ASSIGN_OR_RETURN(const DenseCalibration dense,
                              CalibrateDense(shape, bits, kDenseSeconds * options_.effort, team));
      Put(dense.curve, rates);
      if (Weights(shape) >= most_weights_) rates.dense_gflops = dense.gflops;
    }
    return absl::OkStatus();
  }

  // The rates that stand for all shapes are those of the largest experts.
  void KeepLargest(const ModelShape& shape, const ExpertCalibration& experts) {
    if (Weights(shape) < most_weights_) return;
    most_weights_ = Weights(shape);
    largest_ = shape;
    machine_.rates.expert_gops = experts.gops;
    if (machine_.nodes.size() == 1) machine_.nodes[0].read_gb_per_s = experts.read_gb_per_s;
  }
  static int64_t Weights(const ModelShape& s) { return int64_t{s.hidden} * s.expert_intermediate; }

  // The shape with the largest experts; null if none has any.
  const ModelShape* Largest() const {
    const ModelShape* largest = nullptr;
    for (const ModelShape& shape : options_.shapes)
      if (shape.moe_layers() > 0 && (largest == nullptr || Weights(shape) > Weights(*largest)))
        largest = &shape;
    return largest;
  }

  absl::Status Gpu(WorkerTeam& team) {
    if (!options_.measure_gpu) return absl::OkStatus();
    Say("GPU");
    GpuMeasureOptions gpu;
    // Awake from the first turn of the load on: spinning workers are no idle CPU.
    std::optional<WorkerTeam::Awake> awake;
    if (const ModelShape* shape = Largest()) {
      TANDEM_ASSIGN_OR_RETURN(const std::function<void()> load,
                              ExpertLoad(*shape, ExpertOptions(kExpertSeconds), team));
      gpu.cpu_load = [&awake, &team, load] {
        if (!awake) awake.emplace(team);
        load();
      };
    }
    TANDEM_ASSIGN_OR_RETURN(GpuSpec spec, options_.measure_gpu(gpu));
    if (machine_.gpu) {
      spec.name = machine_.gpu->name;
      spec.memory_bytes = machine_.gpu->memory_bytes;
    }
    spec.measured = UtcNow();
    machine_.gpu = std::move(spec);
    return absl::OkStatus();
  }

  absl::Status Nodes() {
    if (most_weights_ == 0) return absl::OkStatus();
    Say("memory of every node");
    return CalibrateNodes(largest_, ExpertOptions(kNodeSeconds), machine_);
  }

  const CalibrationOptions& options_;
  Machine& machine_;
  ModelShape largest_;
  int64_t most_weights_ = 0;
};

}  // namespace

absl::Status Calibrate(const CalibrationOptions& options, Machine& machine) {
  Machine measured = machine;
  if (machine.rates.source == MachineRates::Source::kGuessed) {
    // What is not measured shall not pass for it.
    measured.rates = {};
    for (MachineNode& node : measured.nodes) node.read_gb_per_s = 0;
  }
  absl::Status status;
  std::thread([&] { status = Calibration(options, measured).Run(); }).join();
  TANDEM_RETURN_IF_ERROR(status);
  machine = std::move(measured);
  return absl::OkStatus();
}

}  // namespace tandem
