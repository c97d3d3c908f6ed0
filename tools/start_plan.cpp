#include "tools/start_plan.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/log.h"
#include "engine/checkpoint/identify_model.h"
#include "engine/machine_here.h"
#include "placement/plan_file.h"
#include "placement/planner.h"
#include "placement/profile_file.h"

namespace tandem {
namespace {

constexpr int64_t kContext = 32768;
constexpr int32_t kConcurrency = 4;

// What the engine's options ask of a plan.
PlanGoals GoalsOf(const EngineOptions& engine, const ModelShape& shape) {
  PlanGoals goals;
  goals.context = std::min(shape.max_positions, kContext);
  goals.concurrency = std::min(engine.max_sequences, kConcurrency);
  if (engine.kv_tokens > 0) {
    goals.context = std::min(goals.context, engine.kv_tokens);
    goals.concurrency = static_cast<int32_t>(
        std::clamp<int64_t>(engine.kv_tokens / goals.context, 1, engine.max_sequences));
  }
  goals.max_step_tokens = engine.max_step_tokens;
  goals.weight_bits = engine.dense_dtype == DenseDType::kInt8 ? 8 : 16;
  goals.stream_buffer_bytes = engine.device.stream_buffer_bytes;
  goals.use_gpu = engine.device.device != Device::kCpu;
  return goals;
}

Machine MachineFor(const EngineOptions& engine, const PlanGoals& goals) {
  Machine machine = MachineHere();
  if (machine.gpu && engine.device.memory_bytes > 0)
    machine.gpu->memory_bytes = engine.device.memory_bytes + goals.vram_reserve_bytes;
  return machine;
}

absl::StatusOr<StartPlan> PlanFromFile(const std::string& path, const ModelIdentity& identity) {
  TANDEM_ASSIGN_OR_RETURN(Plan plan, ReadPlan(path));
  TANDEM_RETURN_IF_ERROR(CheckSameModel(path, plan.model, identity));
  StartPlan start = {.obeyed = true, .machine = MachineHere()};
  if (plan.machine_id != start.machine.id)
    LogWarning("{} was made for {}, not for this machine", path, plan.machine);
  start.plan = std::make_shared<const Plan>(std::move(plan));
  return start;
}

// The predicted time of a step of `batch` rows: between the plan's points in batch, at the context
// nearest to `context`. 0: no points.
double PredictedStepSeconds(const Plan& plan, double batch, double context) {
  const auto distance = [&](const RatePoint& p) {
    return std::fabs(std::log((context + 1) / static_cast<double>(p.context + 1)));
  };
  if (plan.rates_at.empty()) return 0;
  const int64_t nearest = std::ranges::min(plan.rates_at, {}, distance).context;
  std::vector<RatePoint> points;
  for (const RatePoint& p : plan.rates_at)
    if (p.context == nearest) points.push_back(p);
  std::ranges::sort(points, {}, &RatePoint::batch);
  size_t i = 1;
  while (i + 1 < points.size() && points[i].batch < batch) ++i;
  const RatePoint& low = points[0];
  if (points.size() == 1) return low.decode.total_s * std::max(1.0, batch / low.batch);
  const RatePoint &a = points[i - 1], &b = points[i];
  const double slope = (b.decode.total_s - a.decode.total_s) / (b.batch - a.batch);
  return std::max(0.0, a.decode.total_s + slope * (batch - a.batch));
}

std::string DecodeAgainst(const Plan& plan, const StepTotals& t) {
  const double batch = static_cast<double>(t.rows) / t.steps;
  const double context = static_cast<double>(t.cached_tokens) / t.rows;
  const double measured = t.rows / t.seconds;
  std::string text = absl::StrFormat(
      "decode   %.1f tok/s in %d steps of %.1f sequences with %.0f cached tokens each", measured,
      t.steps, batch, context);
  if (const double step_s = PredictedStepSeconds(plan, batch, context); step_s > 0) {
    absl::StrAppendFormat(&text, "; the plan says %.1f (%+.0f %%)", batch / step_s,
                          100 * (batch / step_s / measured - 1));
  }
  return text + "\n";
}

}  // namespace

absl::StatusOr<StartPlan> PlanForStart(const PlanFlags& flags, const EngineOptions& engine) {
  TANDEM_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(engine.model_dir));
  TANDEM_ASSIGN_OR_RETURN(const ModelIdentity identity, IdentifyModel(*checkpoint));
  if (!flags.plan.empty() && !flags.profile.empty())
    return absl::InvalidArgumentError("--plan and --profile: a plan was made from its profile");
  if (!flags.plan.empty()) return PlanFromFile(flags.plan, identity);

  std::optional<ExpertProfile> profile;
  if (!flags.profile.empty()) {
    TANDEM_ASSIGN_OR_RETURN(profile, ReadProfile(flags.profile));
    TANDEM_RETURN_IF_ERROR(CheckSameModel(flags.profile, profile->model, identity));
  }
  const ModelShape& shape = checkpoint->config().shape;
  const PlanGoals goals = GoalsOf(engine, shape);
  StartPlan start = {.machine = MachineFor(engine, goals)};
  if (profile) {
    const Phase decode = Phase::kDecode, prefill = Phase::kPrefill;
    start.decode = SumCounts(*profile, -1, nullptr, &decode);
    start.prefill = SumCounts(*profile, -1, nullptr, &prefill);
  }
  auto plan = MakePlan(shape, identity, start.machine, profile ? &*profile : nullptr, goals);
  if (!plan.ok()) {
    LogWarning("no plan could be made: {}", std::string(plan.status().message()));
    return start;
  }
  start.obeyed = plan->gpu && engine.device.device != Device::kEmulated;
  start.plan = std::make_shared<const Plan>(*std::move(plan));
  return start;
}

std::string PlanSummary(const StartPlan& start) {
  const Plan& plan = *start.plan;
  std::string text = absl::StrCat("plan     dense side on the ", plan.gpu ? "GPU" : "CPU");
  if (start.obeyed) absl::StrAppendFormat(&text, ", cache of %d tokens", plan.kv_tokens);
  if (plan.gpu) {
    absl::StrAppendFormat(&text, ", %d hot experts (%s hit rate %.1f %%)", plan.hot_experts(),
                          plan.hit_rate_held_out ? "held-out" : "expected",
                          100 * plan.decode_hit_rate);
  }
  if (plan.disk_experts() > 0)
    absl::StrAppendFormat(&text, ", %d experts on disk", plan.disk_experts());
  absl::StrAppendFormat(&text, "; rates %s\n", plan.rates);
  for (const RatePoint& p : plan.rates_at) {
    if (p.batch != 1 && p.batch != plan.goals.concurrency) continue;
    absl::StrAppendFormat(&text,
                          "         %d x %d tokens cached: decode %.1f tok/s (limit: %s), prefill "
                          "of one %.1f tok/s\n",
                          p.batch, p.context, p.decode_tok_per_s, p.decode.limit,
                          p.prefill_tok_per_s);
  }
  return text;
}

std::string MeasuredAgainst(const Plan& plan, const EngineStats& stats) {
  std::string text;
  if (stats.decode_steps.steps > 0) text += DecodeAgainst(plan, stats.decode_steps);
  if (const StepTotals& t = stats.prefill_steps; t.steps > 0) {
    absl::StrAppendFormat(&text, "prefill  %.1f tok/s in %d steps of %.0f rows\n",
                          t.rows / t.seconds, t.steps, static_cast<double>(t.rows) / t.steps);
  }
  const int64_t pairs = stats.routed_pairs[1];
  if (plan.gpu && pairs > 0) {
    absl::StrAppendFormat(&text, "hit rate %.1f %% in decoding; the plan says %.1f %%\n",
                          100.0 * stats.hot_pairs[1] / pairs, 100 * plan.decode_hit_rate);
  }
  return text;
}

}  // namespace tandem
