#include "bench/calibrate_experts.h"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "bench/calibration_samples.h"
#include "bench/gpu/random_experts.h"
#include "core/bf16.h"

namespace tandem {
namespace {

constexpr int64_t kMostBytes = 1'500'000'000;
constexpr int32_t kRows[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256};
constexpr int32_t kMostTokens = 512;
// Operations of one call: enough to be timed, little enough for several rounds.
constexpr double kOperationsPerCall = 60e9;

// The model's experts, or as many of them as may be.
ModelShape CutForBench(const ModelShape& shape) {
  ModelShape cut = shape;
  const int64_t bytes =
      static_cast<int64_t>(3.0 * shape.hidden * shape.expert_intermediate * 9 / 16) + 1;
  const int64_t most = std::max<int64_t>(kMostBytes / bytes, shape.top_k);
  cut.experts = static_cast<int32_t>(std::min<int64_t>(shape.experts, most));
  cut.layers = static_cast<int32_t>(
      std::clamp<int64_t>(most / cut.experts, 1, std::max(1, shape.moe_layers())));
  cut.dense_layers = 0;
  return cut;
}

class ExpertBench {
 public:
  static absl::StatusOr<ExpertBench> Create(const ModelShape& shape,
                                            const ExpertCalibrationOptions& options,
                                            WorkerTeam& team) {
    ExpertBench bench(CutForBench(shape));
    TANDEM_ASSIGN_OR_RETURN(bench.experts_, RandomExperts(bench.shape_,
                                                          {.activations = options.activations,
                                                           .kernel = options.kernel,
                                                           .max_tokens = kMostTokens},
                                                          team));
    return bench;
  }

  // Seconds of a layer in which `groups` sets of top_k experts have `rows` rows each. The next call
  // takes the next experts.
  double Time(int32_t rows, int32_t groups) {
    const int32_t tokens = rows * groups, top_k = shape_.top_k, used = groups * top_k;
    if (next_ + used > shape_.experts) {
      next_ = 0;
      layer_ = (layer_ + 1) % shape_.layers;
    }
    ids_.resize(tokens * top_k);
    for (int32_t t = 0; t < tokens; ++t)
      for (int32_t k = 0; k < top_k; ++k) ids_[t * top_k + k] = next_ + t % groups * top_k + k;
    next_ += used;
    const RoutedTokens routed = {{x_.data(), {tokens, shape_.hidden}},
                                 {ids_.data(), {tokens, top_k}},
                                 {weights_.data(), {tokens, top_k}}};
    return TimeOf([&] {
      experts_->Forward({layer_}, routed, {y_.data(), {tokens, shape_.hidden}});
    });
  }

  // As many as a call may use with so many rows each.
  int32_t MostGroups(int32_t rows) const {
    const double operations = 6.0 * shape_.hidden * shape_.expert_intermediate * shape_.top_k;
    const int32_t by_work = static_cast<int32_t>(kOperationsPerCall / (operations * rows));
    return std::max(1, std::min({by_work, kMostTokens / rows, shape_.experts / shape_.top_k}));
  }
  double operations_per_row() const { return 6.0 * shape_.hidden * shape_.expert_intermediate; }
  double expert_bytes() const { return static_cast<double>(experts_->expert_bytes()); }
  int32_t top_k() const { return shape_.top_k; }

 private:
  explicit ExpertBench(const ModelShape& shape)
      : shape_(shape),
        x_(int64_t{kMostTokens} * shape.hidden),
        weights_(int64_t{kMostTokens} * shape.top_k, 1.0f / static_cast<float>(shape.top_k)),
        y_(x_.size()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (bf16& value : x_) value = ToBf16(normal(random));
  }

  ModelShape shape_;
  std::unique_ptr<CpuExperts> experts_;
  std::vector<bf16> x_;
  std::vector<int32_t> ids_;
  std::vector<float> weights_, y_;
  int32_t next_ = 0, layer_ = 0;
};

// A layer's time is call_s + experts x seconds: from one row each, few experts and many.
struct Line {
  double call_s = 0, expert_s = 0;
};

Line FitOneRow(double few_s, double few, double many_s, double many) {
  if (many <= few) return {0, few_s / few};
  Line line;
  line.expert_s = (many_s - few_s) / (many - few);
  line.call_s = few_s - few * line.expert_s;
  if (line.call_s >= 0 && line.expert_s > 0) return line;
  return {0, 0.5 * (few_s / few + many_s / many)};  // no more than noise
}

// A number of rows that one expert has, all experts of a call alike.
struct Point {
  int32_t rows = 0, groups = 0;
  Samples samples;
  double last_s = 0;

  void Visit(const Rounds& rounds, int round, ExpertBench& bench) {
    const auto run = [&]() -> absl::StatusOr<double> { return bench.Time(rows, groups); };
    rounds.Visit(round, last_s, run, [&] { samples.Add(last_s); }).IgnoreError();  // has none
  }
};

// One row each, few experts and many.
struct OneRow {
  Point few, many;
  int32_t top_k;

  explicit OneRow(const ExpertBench& bench)
      : few{.rows = 1, .groups = 1},
        many{.rows = 1, .groups = bench.MostGroups(1)},
        top_k(bench.top_k()) {}
  void Visit(const Rounds& rounds, int round, ExpertBench& bench) {
    few.Visit(rounds, round, bench);
    many.Visit(rounds, round, bench);
  }
  Line Fit() const {
    return FitOneRow(few.samples.Typical(), top_k, many.samples.Typical(), many.groups * top_k);
  }
};

}  // namespace

absl::StatusOr<ExpertCalibration> CalibrateExperts(const ModelShape& shape,
                                                   const ExpertCalibrationOptions& options,
                                                   WorkerTeam& team) {
  TANDEM_ASSIGN_OR_RETURN(ExpertBench bench, ExpertBench::Create(shape, options, team));
  OneRow one_row(bench);
  std::vector<Point> points;
  for (const int32_t rows : kRows) points.push_back({rows, bench.MostGroups(rows)});
  const Rounds rounds(options.seconds / (std::size(kRows) + 1));
  for (int round = 0; round < Rounds::kMost; ++round) {
    one_row.Visit(rounds, round, bench);
    for (size_t i = 1; i < points.size(); ++i) points[i].Visit(rounds, round, bench);
  }
  const Line first = one_row.Fit();
  std::vector<double> seconds = {first.expert_s};
  for (size_t i = 1; i < points.size(); ++i) {
    const double used = points[i].groups * bench.top_k();
    seconds.push_back((points[i].samples.Typical() - first.call_s) / used);
  }
  MakeAscending(seconds);

  ExpertCalibration result;
  result.curve.hidden = shape.hidden;
  result.curve.intermediate = shape.expert_intermediate;
  result.curve.call_s = first.call_s;
  for (size_t i = 0; i < std::size(kRows); ++i)
    result.curve.points.push_back({kRows[i], seconds[i]});
  result.read_gb_per_s = bench.expert_bytes() / seconds.front() * 1e-9;
  result.gops = bench.operations_per_row() * kRows[std::size(kRows) - 1] / seconds.back() * 1e-9;
  return result;
}

absl::StatusOr<double> ExpertReadRate(const ModelShape& shape,
                                      const ExpertCalibrationOptions& options, WorkerTeam& team) {
  TANDEM_ASSIGN_OR_RETURN(ExpertBench bench, ExpertBench::Create(shape, options, team));
  OneRow one_row(bench);
  const Rounds rounds(options.seconds / 2);
  for (int round = 0; round < Rounds::kMost; ++round) one_row.Visit(rounds, round, bench);
  return bench.expert_bytes() / one_row.Fit().expert_s * 1e-9;
}

absl::StatusOr<std::function<void()>> ExpertLoad(const ModelShape& shape,
                                                 const ExpertCalibrationOptions& options,
                                                 WorkerTeam& team) {
  TANDEM_ASSIGN_OR_RETURN(ExpertBench bench, ExpertBench::Create(shape, options, team));
  const auto shared = std::make_shared<ExpertBench>(std::move(bench));
  return [shared] { shared->Time(/*rows=*/1, /*groups=*/1); };
}

}  // namespace tandem
