#include "placement/expert_costs.h"

#include <algorithm>
#include <cmath>

#include "placement/footprint.h"
#include "placement/numa_balance.h"

namespace tandem {
namespace {

// Beyond so many rows E[t] is looked up between points of p, kPointsPerOctave apart: off by less
// than 0.05 %.
constexpr int32_t kMostExactRows = 16;
constexpr int kPointsPerOctave = 16, kOctaves = 40;

double PointOf(int i) { return std::exp2(static_cast<double>(i) / kPointsPerOctave - kOctaves); }

}  // namespace

ExpertCosts::ExpertCosts(const ModelShape& shape, const Machine& machine, NumaHome home)
    : shape_(shape), home_(home) {
  const double weights = 3.0 * shape.hidden * shape.expert_intermediate;
  bytes_ = weights * kInt4WeightBytes;
  operations_ = 2 * weights;
  read_s_ = bytes_ / (machine.read_gb_per_s() * 1e9);
  row_s_ = operations_ / (machine.rates.expert_gops * 1e9);
  const std::vector<int32_t> nodes = ComputeNodes(machine);
  double cores = 0, bandwidth = 0;
  for (const int32_t i : nodes) {
    cores += machine.nodes[i].cores;
    bandwidth += machine.nodes[i].read_gb_per_s;
  }
  for (const int32_t i : nodes) {
    const auto even = 1.0 / static_cast<double>(nodes.size());
    node_cores_.push_back(machine.nodes[i].cores / cores);
    node_bandwidth_.push_back(bandwidth > 0 ? machine.nodes[i].read_gb_per_s / bandwidth : even);
  }
  const int joins = nodes.size() > 1 ? 2 : 1;  // several nodes' sums are added in a second job
  call_s_ = joins * machine.rates.dispatch_us * 1e-6;
  if (const ExpertCurve* curve =
          machine.rates.FindExperts(shape.hidden, shape.expert_intermediate)) {
    curve_ = *curve;
    call_s_ = curve->call_s;
  }
  if (machine.rates.disk_gb_per_s > 0) disk_s_ = bytes_ / (machine.rates.disk_gb_per_s * 1e9);
  if (!machine.gpu) return;
  const GpuSpec& gpu = *machine.gpu;
  gpu_read_s_ = bytes_ / (gpu.hbm_gb_per_s * 1e9);
  gpu_row_s_ = operations_ / (gpu.int4_tflops * 1e12);
  send_s_ = bytes_ / (gpu.pcie_gb_per_s * 1e9);
  send_beside_s_ =
      gpu.pcie_beside_cpu_gb_per_s > 0 ? bytes_ / (gpu.pcie_beside_cpu_gb_per_s * 1e9) : send_s_;
}

ExpertCosts::Pace ExpertCosts::PaceOf(int32_t batch) const {
  if (curve_) return {};
  return {read_s_ * NumaFactor(shape_, home_, node_bandwidth_, batch),
          row_s_ * NumaFactor(shape_, home_, node_cores_, batch)};
}

double ExpertCosts::CpuSeconds(double rows, const Pace& pace) const {
  if (rows <= 0) return 0;
  return curve_ ? SecondsFor(*curve_, rows) : std::max(pace.read_s, rows * pace.row_s);
}

// Sums over the binomial distribution from its mode outwards, until nothing more comes.
double ExpertCosts::BinomialMean(double p, int32_t batch, const Pace& pace) const {
  if (p <= 0 || batch <= 0) return 0;
  if (batch == 1 || p >= 1) return p * CpuSeconds(batch, pace);
  constexpr double kNothing = 1e-15;
  const double n = batch, odds = p / (1 - p);
  const int32_t mode = std::clamp(static_cast<int32_t>((n + 1) * p), 0, batch);
  const double at_mode =
      std::exp(std::lgamma(n + 1) - std::lgamma(mode + 1.0) - std::lgamma(n - mode + 1) +
               mode * std::log(p) + (n - mode) * std::log1p(-p));
  double sum = at_mode * CpuSeconds(mode, pace);
  double chance = at_mode;
  for (int32_t r = mode; r > 1 && chance > kNothing; --r) {
    chance *= r / ((n - r + 1) * odds);
    sum += chance * CpuSeconds(r - 1, pace);
  }
  chance = at_mode;
  for (int32_t r = mode; r < batch && chance > kNothing; ++r) {
    chance *= (n - r) * odds / (r + 1);
    sum += chance * CpuSeconds(r + 1, pace);
  }
  return sum;
}

std::vector<double> ExpertCosts::ExpectedCpuSeconds(const RoutingModel& routing,
                                                    int32_t batch) const {
  const Pace pace = PaceOf(batch);
  std::vector<double> points(kPointsPerOctave * kOctaves + 1, -1.0);
  const auto at = [&](int i) {
    if (points[i] < 0) points[i] = BinomialMean(PointOf(i), batch, pace);
    return points[i];
  };
  const bool exact = batch <= kMostExactRows || routing.even();
  const auto expected = [&](double p) {
    const double place = (std::log2(p) + kOctaves) * kPointsPerOctave;
    if (exact || place < 0 || p >= 1) return BinomialMean(p, batch, pace);
    const int low = static_cast<int>(place);
    const double share = (p - PointOf(low)) / (PointOf(low + 1) - PointOf(low));
    return at(low) + share * (at(low + 1) - at(low));
  };
  std::vector<double> seconds;
  seconds.reserve(static_cast<size_t>(shape_.moe_layers()) * shape_.experts);
  double last_p = -1, last_s = 0;
  for (int32_t layer = 0; layer < shape_.moe_layers(); ++layer) {
    for (int32_t e = 0; e < shape_.experts; ++e) {
      const double p = routing.Probability(layer, e);
      if (p != last_p) last_s = expected(p);
      last_p = p;
      seconds.push_back(last_s);
    }
  }
  return seconds;
}

bool ExpertCosts::MemoryBound(int32_t batch) const {
  const double rows =
      batch * static_cast<double>(shape_.top_k) /
      std::max(1.0, DistinctExperts(shape_.experts, shape_.top_k, batch));  // of an expert in use
  if (curve_) return SecondsFor(*curve_, rows) < 1.5 * SecondsFor(*curve_, 1);
  const Pace pace = PaceOf(batch);
  return rows * pace.row_s <= pace.read_s;
}

double ExpertCosts::GpuSeconds(double p, int32_t batch) const {
  const double used = p >= 1 ? 1 : -std::expm1(batch * std::log1p(-p));
  return std::max(used * gpu_read_s_, batch * p * gpu_row_s_);
}

double ExpertCosts::DiskSeconds(double p, int32_t batch) const {
  const double used = p >= 1 ? 1 : -std::expm1(batch * std::log1p(-p));
  return used * disk_s_;
}

}  // namespace tandem
