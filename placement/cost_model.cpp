#include "placement/cost_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "placement/step_sum.h"

namespace tandem {
namespace {

// A row goes to the CPU as BF16, the sums of its cold experts come back as FP32.
constexpr double kHandoffElementBytes = 2 + 4;

}  // namespace

Residences ResidencesOf(const Plan& plan) {
  const ModelIdentity& model = plan.model;
  Residences where(static_cast<size_t>(model.moe_layers()) * model.experts, Residence::kRam);
  const auto mark = [&](const std::vector<std::vector<ExpertId>>& layers, Residence residence) {
    for (size_t layer = 0; layer < layers.size(); ++layer)
      for (const ExpertId expert : layers[layer])
        where[(layer - model.dense_layers) * model.experts + expert.value] = residence;
  };
  mark(plan.hot, Residence::kGpu);
  mark(plan.on_disk, Residence::kDisk);
  return where;
}

CostModel::CostModel(const ModelShape& shape, const Machine& machine, int32_t weight_bits, bool gpu,
                     const RoutingModel& decode, const RoutingModel& prefill, NumaHome home)
    : shape_(shape),
      gpu_(gpu),
      handoff_s_(gpu ? machine.gpu->handoff_us * 1e-6 : 0),
      row_send_s_(gpu ? kHandoffElementBytes * shape.hidden / (machine.gpu->pcie_gb_per_s * 1e9)
                      : 0),
      step_s_(machine.rates.step_us * 1e-6),
      row_s_(machine.rates.row_us * 1e-6),
      decode_(decode),
      prefill_(prefill),
      dense_(shape, machine, weight_bits, gpu),
      experts_(shape, machine, home) {}

double CostModel::HandoffSeconds(int64_t rows) const {
  return gpu_ ? handoff_s_ + row_send_s_ * static_cast<double>(rows) : 0;
}

StepTime CostModel::Decode(const Residences& where, int32_t batch, int64_t context) const {
  StepSum sum(gpu_);
  sum.Add(&StepTime::attention_s, dense_.Attention(batch, /*prompt=*/false), shape_.layers);
  sum.Add(&StepTime::attention_s, dense_.DecodeCache(batch, context), shape_.layers);
  sum.Add(&StepTime::attention_s, dense_.DenseMlp(batch), shape_.dense_layers);
  sum.Add(&StepTime::shared_s, dense_.Router(batch), shape_.moe_layers());
  const Work shared = dense_.Shared(batch);
  const std::vector<double> seconds = experts_.ExpectedCpuSeconds(decode_, batch);
  const Wait cpu_wait = experts_.MemoryBound(batch) ? Wait::kRamBandwidth : Wait::kCpuArithmetic;
  for (int32_t layer = 0; layer < shape_.moe_layers(); ++layer) {
    double cpu_s = experts_.CallSeconds(), hot_s = 0, disk_s = 0;
    for (int32_t e = 0; e < shape_.experts; ++e) {
      const size_t i = static_cast<size_t>(layer) * shape_.experts + e;
      const double p = decode_.Probability(layer, e);
      if (where[i] == Residence::kGpu) {
        hot_s += experts_.GpuSeconds(p, batch);
        continue;
      }
      cpu_s += seconds[i];
      if (where[i] == Residence::kDisk) disk_s += experts_.DiskSeconds(p, batch);
    }
    StepTime& time = sum.time();
    time.shared_s += shared.s;
    time.cpu_experts_s += cpu_s + disk_s;
    time.disk_s += disk_s;
    time.hot_experts_s += hot_s;
    if (!gpu_) {
      sum.Await(shared.s, sum.WaitOf(shared));
      sum.Await(cpu_s, cpu_wait);
    } else if (cpu_s >= shared.s + hot_s) {
      sum.Await(cpu_s, cpu_wait);
    } else {
      sum.Await(shared.s + hot_s, Wait::kGpuBandwidth);
    }
    sum.Await(disk_s, Wait::kDisk);
    sum.Add(&StepTime::handoff_s, HandoffSeconds(batch), Wait::kHandoff);
  }
  sum.Add(&StepTime::head_s, dense_.Head(batch));
  sum.Add(&StepTime::other_s, step_s_ + batch * row_s_, Wait::kEngine);
  return sum.Finish();
}

int64_t CostModel::BreakEven(const Residences& where, int32_t chunk) const {
  if (!gpu_) return 0;
  const auto cold = static_cast<double>(std::ranges::count(where, Residence::kRam));
  if (cold == 0) return 0;
  const double cpu_s = Prefill(where, chunk, chunk, /*stream=*/false).total_s;
  const double sent_s = cold * experts_.SendSeconds(/*beside_cpu=*/false);
  return static_cast<int64_t>(chunk / cpu_s * sent_s + 0.5);
}

double BreakEvenTokens(double cpu_tok_per_s, double streamed_bytes, double pcie_gb_per_s) {
  return cpu_tok_per_s * streamed_bytes / (pcie_gb_per_s * 1e9);
}

absl::Status CheckRates(const Machine& m, const ModelShape& shape, int32_t weight_bits, bool gpu) {
  const auto unknown = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat("machine ", m.name, ": ", what, " is unknown; calibrate it or write it down"));
  };
  const bool experts = m.rates.FindExperts(shape.hidden, shape.expert_intermediate) != nullptr;
  const bool dense = gpu || m.rates.FindDense(DenseKeyOf(shape, weight_bits)) != nullptr;
  if (!(experts && dense) && !(m.read_gb_per_s() > 0))
    return unknown("the bandwidth of its memory (read_gb_per_s)");
  if (!experts && !(m.rates.expert_gops > 0))
    return unknown("the rate of its experts' kernel (expert_gops)");
  if (!dense && !(m.rates.dense_gflops > 0))
    return unknown("the rate of its dense kernels (dense_gflops)");
  if (!gpu) return absl::OkStatus();
  if (!m.gpu) return unknown("its GPU");
  if (!(m.gpu->hbm_gb_per_s > 0)) return unknown("the bandwidth of the GPU's memory");
  if (!(m.gpu->bf16_tflops > 0 && m.gpu->int4_tflops > 0)) return unknown("the rate of its GPU");
  if (!(m.gpu->pcie_gb_per_s > 0)) return unknown("the rate of its GPU's PCIe link");
  return absl::OkStatus();
}

}  // namespace tandem
