#include "tools/doctor_rates.h"

#include <cstdio>
#include <ctime>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/calibration.h"
#include "engine/machine_here.h"
#include "placement/machine_file.h"
#include "tools/synth.h"

namespace tandem {
namespace {

// Of "2026-03-01 12:00" in UTC: "3 hours ago"; "" for anything else.
std::string AgeOf(const std::string& when) {
  std::tm utc{};
  if (strptime(when.c_str(), "%Y-%m-%d %H:%M", &utc) == nullptr) return "";
  const double minutes = std::difftime(std::time(nullptr), timegm(&utc)) / 60;
  if (minutes < 2) return "just now";
  if (minutes < 120) return absl::StrFormat("%.0f minutes ago", minutes);
  if (minutes < 2880) return absl::StrFormat("%.0f hours ago", minutes / 60);
  return absl::StrFormat("%.0f days ago", minutes / 1440);
}

std::string SourceOf(const MachineRates& rates) {
  switch (rates.source) {
    case MachineRates::Source::kCalibrated:
      return absl::StrCat("calibrated ", rates.when, " UTC, ", AgeOf(rates.when));
    case MachineRates::Source::kSpecified:
      return "as specified";
    case MachineRates::Source::kGuessed:
      return "guessed; tandem doctor --calibrate measures them";
    case MachineRates::Source::kUnknown:
      break;
  }
  return "unknown";
}

void PrintExperts(const ExpertCurve& curve) {
  const double weights = 3.0 * curve.hidden * curve.intermediate;
  std::printf("\nexperts %d x %d, a layer's call %.1f us; one expert:\n", curve.hidden,
              curve.intermediate, curve.call_s * 1e6);
  std::printf("      rows          us        GB/s        GOPS\n");
  for (const ExpertCurve::Point& p : curve.points) {
    std::printf("%10d %11.1f %11.1f %11.0f\n", p.rows, p.seconds * 1e6,
                weights * 0.5625 / p.seconds * 1e-9, 2 * weights * p.rows / p.seconds * 1e-9);
  }
}

void PrintDense(const DenseCurve& curve) {
  std::printf("\ndense side %d wide, %s, vocabulary %d; us of one layer:\n", curve.key.hidden,
              curve.key.weight_bits == 8 ? "INT8" : "BF16", curve.key.vocab);
  std::printf("      rows   attention    a prompt   dense MLP  router and        head\n");
  std::printf("                                                 shared expert\n");
  for (const DenseCurve::Point& p : curve.points) {
    std::printf("%10d %11.1f %11.1f %11.1f %11.1f %11.1f\n", p.rows, p.attention_s * 1e6,
                p.prefill_attention_s * 1e6, p.dense_mlp_s * 1e6, p.moe_s * 1e6, p.head_s * 1e6);
  }
  std::printf("a cached token more: %.3f us a decode row (%.3f if it is alone), %.3f a prompt's\n",
              curve.decode_kv_s * 1e6, curve.decode_one_kv_s * 1e6, curve.prefill_kv_s * 1e6);
}

void PrintGpu(const GpuSpec& gpu) {
  std::printf(
      "  gpu      %.0f GB/s of memory, %.0f TFLOP/s BF16, %.0f with INT4 experts; PCIe "
      "%.0f GB/s, %.0f beside the CPU's experts; hand-over %.0f us: %s\n",
      gpu.hbm_gb_per_s, gpu.bf16_tflops, gpu.int4_tflops, gpu.pcie_gb_per_s,
      gpu.pcie_beside_cpu_gb_per_s, gpu.handoff_us,
      gpu.measured.empty()
          ? "usual for such a card, not measured"
          : absl::StrCat("measured ", gpu.measured, " UTC, ", AgeOf(gpu.measured)).c_str());
}

}  // namespace

absl::Status CalibrateThisMachine(const DoctorCalibration& options) {
  CalibrationOptions calibration;
  if (options.shape) {
    calibration.shapes = {*options.shape};
  } else {
    for (const char* name : {"k2.6", "moonlight"}) {
      TANDEM_ASSIGN_OR_RETURN(const SynthModel model, FindSynthModel(name));
      calibration.shapes.push_back(model.shape);
    }
  }
  calibration.weight_bits = options.weight_bits;
  calibration.disk_path = options.disk_path;
  calibration.on_part = [](const std::string& part) {
    std::fprintf(stderr, "measuring %s\n", part.c_str());
  };
  const std::optional<GpuSpec> gpu = FirstGpu();
  Machine machine = ThisMachine(gpu);
  machine.gpu = gpu;  // without what is guessed of it
  if (gpu) calibration.measure_gpu = MeasureGpu;
  machine.rates = {.source = MachineRates::Source::kGuessed};  // older curves are kept in the file
  TANDEM_RETURN_IF_ERROR(Calibrate(calibration, machine));
  return SaveCalibration(machine);
}

std::string LargestFile(const std::string& folder) {
  std::string largest;
  uintmax_t most = uintmax_t{64} << 20;  // smaller ones say nothing of a disk
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const uintmax_t size = entry.is_regular_file(error) ? entry.file_size(error) : 0;
    if (error || size <= most) continue;
    most = size;
    largest = entry.path().string();
  }
  return largest;
}

void PrintRates(const Machine& machine) {
  const MachineRates& rates = machine.rates;
  std::printf("\nrates      %s\n", SourceOf(rates).c_str());
  for (const MachineNode& node : machine.nodes)
    std::printf("  node %-3d %.1f GB/s read by the experts' kernel\n", node.os_index,
                node.read_gb_per_s);
  if (rates.cross_node_gb_per_s > 0 && machine.nodes.size() > 1)
    std::printf("  across   %.1f GB/s from another node's memory\n", rates.cross_node_gb_per_s);
  std::printf("  compute  experts %.0f GOPS, dense side %.0f GFLOPS\n", rates.expert_gops,
              rates.dense_gflops);
  std::printf("  engine   dispatch %.2f us; a step %.1f us and %.1f us a row besides the model\n",
              rates.dispatch_us, rates.step_us, rates.row_us);
  std::printf("  disk     %.2f GB/s (a guess of 3 if it was not measured)\n", rates.disk_gb_per_s);
  if (machine.gpu) PrintGpu(*machine.gpu);
  for (const ExpertCurve& curve : rates.experts) PrintExperts(curve);
  for (const DenseCurve& curve : rates.dense) PrintDense(curve);
}

nlohmann::ordered_json RatesJson(const Machine& machine) {
  return nlohmann::ordered_json::parse(MachineToJson(machine));
}

}  // namespace tandem
