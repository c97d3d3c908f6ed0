#include "bench/calibrate_dense.h"

#include <algorithm>
#include <vector>

#include "bench/calibration_samples.h"
#include "bench/dense_step.h"
#include "placement/cost_model.h"
#include "placement/footprint.h"

namespace tandem {
namespace {

constexpr int32_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
constexpr size_t kPoints = std::size(kRows);
// A model whose dense side is below this is measured as a whole.
constexpr int64_t kSmallBytes = int64_t{256} << 20;
// The head and the embedding may take this much each; a larger vocabulary is scaled.
constexpr int64_t kMostHeadBytes = int64_t{512} << 20;
constexpr int32_t kLongContext = 2048;
constexpr int32_t kSliceRows = 64;  // of a slice behind a long context

ModelShape CutForBench(const ModelShape& shape) {
  ModelShape cut = shape;
  cut.max_positions = std::max<int64_t>(shape.max_positions, 2 * kLongContext);  // only a promise
  cut.vocab = static_cast<int32_t>(
      std::min<int64_t>(shape.vocab, kMostHeadBytes / (int64_t{2} * shape.hidden) / 64 * 64));
  const Footprint whole = ComputeFootprint(cut, kBf16WeightBytes);
  if (whole.dense_bytes - 2 * int64_t{cut.vocab} * cut.hidden <= kSmallBytes) return cut;
  cut.dense_layers = std::min(shape.dense_layers, 1);
  cut.layers = cut.dense_layers + std::min(shape.moe_layers(), 1);
  return cut;
}

// Of one size of step.
struct Point {
  int32_t rows = 0;
  Samples attention, prefill, dense_mlp, moe, head;
  double decode_run_s = 0, prefill_run_s = 0;

  absl::Status Visit(const Rounds& rounds, int round, DenseStep& step) {
    DenseStepTimes times;
    const auto decode = [&]() -> absl::StatusOr<double> {
      TANDEM_ASSIGN_OR_RETURN(times, step.Decode(rows, 0, /*head=*/true));
      return times.all_s;
    };
    TANDEM_RETURN_IF_ERROR(rounds.Visit(round, decode_run_s, decode, [&] {
      attention.Add(times.attention_s);
      dense_mlp.Add(times.dense_mlp_s);
      moe.Add(times.moe_s);
      head.Add(times.head_s);
    }));
    const auto slice = [&]() -> absl::StatusOr<double> {
      TANDEM_ASSIGN_OR_RETURN(times, step.Prefill(rows, 0));
      return times.all_s;
    };
    return rounds.Visit(round, prefill_run_s, slice, [&] { prefill.Add(times.attention_s); });
  }
};

// Attention behind many cached tokens, beside the same rows without.
struct LongContext {
  struct Pair {
    Samples behind, alone;
    // Seconds per row and cached token.
    double PerToken(int32_t rows) const {
      return std::max(0.0, behind.Typical() - alone.Typical()) / kLongContext / rows;
    }
  };
  Pair one, many, slice;
  double one_run_s = 0;

  absl::Status Visit(const Rounds& rounds, int round, DenseStep& step) {
    double seconds[6] = {};
    const auto run = [&]() -> absl::StatusOr<double> {
      const auto begin = CalibrationClock::now();
      for (int i = 0; i < 6; ++i) {
        const int32_t cached = i % 2 == 0 ? kLongContext : 0;
        TANDEM_ASSIGN_OR_RETURN(const DenseStepTimes times,
                                i < 2   ? step.DecodeAttention(1, cached)
                                : i < 4 ? step.DecodeAttention(DenseStep::kMostSequences, cached)
                                        : step.Prefill(kSliceRows, cached));
        seconds[i] = times.attention_s;
      }
      return SecondsSince(begin);
    };
    return rounds.Visit(round, one_run_s, run, [&] {
      Pair* const pairs[] = {&one, &many, &slice};
      for (int i = 0; i < 3; ++i) {
        pairs[i]->behind.Add(seconds[2 * i]);
        pairs[i]->alone.Add(seconds[2 * i + 1]);
      }
    });
  }
};

void Store(const std::vector<Point>& points, double head_scale, DenseCurve& curve) {
  const auto column = [&](Samples Point::*samples) {
    std::vector<double> seconds;
    for (const Point& point : points) seconds.push_back((point.*samples).Typical());
    MakeAscending(seconds);
    return seconds;
  };
  const auto attention = column(&Point::attention), prefill = column(&Point::prefill),
             mlp = column(&Point::dense_mlp), moe = column(&Point::moe),
             head = column(&Point::head);
  for (size_t i = 0; i < kPoints; ++i) {
    curve.points.push_back({.rows = kRows[i],
                            .attention_s = attention[i],
                            .prefill_attention_s = prefill[i],
                            .dense_mlp_s = mlp[i],
                            .moe_s = moe[i],
                            .head_s = head[i] * head_scale});
  }
}

double OperationsPerRow(const ModelShape& s) {
  return s.dense_layers > 0 ? 6.0 * s.hidden * s.dense_intermediate
                            : 6.0 * s.hidden * s.shared_intermediate();
}

}  // namespace

absl::StatusOr<DenseCalibration> CalibrateDense(const ModelShape& shape, int32_t weight_bits,
                                                double seconds, WorkerTeam& team) {
  const ModelShape cut = CutForBench(shape);
  TANDEM_ASSIGN_OR_RETURN(DenseStep step, DenseStep::Create(cut, weight_bits, kLongContext, team));
  std::vector<Point> points(kPoints);
  for (size_t i = 0; i < kPoints; ++i) points[i].rows = kRows[i];
  LongContext behind;
  const Rounds rounds(seconds / (2 * kPoints + 4));
  const Rounds long_rounds(4 * seconds / (2 * kPoints + 4));  // differences need more runs
  for (int round = 0; round < Rounds::kMost; ++round) {
    for (Point& point : points) TANDEM_RETURN_IF_ERROR(point.Visit(rounds, round, step));
    TANDEM_RETURN_IF_ERROR(behind.Visit(long_rounds, round, step));
  }
  DenseCalibration result;
  result.curve.key = DenseKeyOf(shape, weight_bits);
  Store(points, static_cast<double>(shape.vocab) / cut.vocab, result.curve);
  result.curve.decode_kv_s = behind.many.PerToken(DenseStep::kMostSequences);
  result.curve.decode_one_kv_s = behind.one.PerToken(1);
  result.curve.prefill_kv_s = behind.slice.PerToken(kSliceRows);
  const DenseCurve::Point& last = result.curve.points.back();
  result.gflops = OperationsPerRow(cut) * last.rows /
                  (cut.dense_layers > 0 ? last.dense_mlp_s : last.moe_s) * 1e-9;
  return result;
}

}  // namespace tandem
