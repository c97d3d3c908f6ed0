#include "placement/planner.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "placement/plan_draft.h"
#include "placement/plan_limits.h"
#include "placement/plan_words.h"

namespace tandem {
namespace {

absl::Status CheckPositive(const char* name, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", must be 1 or more"));
}

absl::Status CheckNotNegative(const char* name, int64_t value) {
  if (value >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", must be 0 or more"));
}

absl::Status CheckGoals(const ModelShape& shape, const PlanGoals& goals) {
  TANDEM_RETURN_IF_ERROR(CheckPositive("the context", goals.context));
  TANDEM_RETURN_IF_ERROR(CheckPositive("the concurrency", goals.concurrency));
  TANDEM_RETURN_IF_ERROR(CheckPositive("max_step_tokens", goals.max_step_tokens));
  TANDEM_RETURN_IF_ERROR(CheckNotNegative("the GPU memory's reserve", goals.vram_reserve_bytes));
  TANDEM_RETURN_IF_ERROR(CheckNotNegative("the RAM's reserve", goals.ram_reserve_bytes));
  TANDEM_RETURN_IF_ERROR(CheckNotNegative("the stream buffer", goals.stream_buffer_bytes));
  if (shape.max_positions > 0 && goals.context > shape.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("the context is ", goals.context,
                                                   " tokens, the model has ", shape.max_positions,
                                                   " positions"));
  }
  if (goals.weight_bits != 16 && goals.weight_bits != 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("the dense side has ", goals.weight_bits, " bits, must be 16 or 8"));
  }
  return absl::OkStatus();
}

absl::Status CheckProfile(const ModelIdentity& model, const ExpertProfile* profile) {
  if (profile == nullptr) return absl::OkStatus();
  TANDEM_RETURN_IF_ERROR(CheckSameModel("the profile", profile->model, model));
  const auto want = static_cast<size_t>(model.moe_layers()) * model.experts;
  for (const LabelProfile& label : profile->labels) {
    for (const auto& split : label.counts) {
      for (const RoutingCounts& counts : split) {
        if (counts.hits.empty() || counts.hits.size() == want) continue;
        return absl::InvalidArgumentError(absl::StrCat("the profile counts ", counts.hits.size(),
                                                       " experts, the model has ", want));
      }
    }
  }
  return absl::OkStatus();
}

// Counts of a phase; of both where it has none.
RoutingCounts CountsOf(const ExpertProfile* profile, const Split* split, Phase phase) {
  if (profile == nullptr) return {};
  RoutingCounts counts = SumCounts(*profile, -1, split, &phase);
  return counts.tokens > 0 ? counts : SumCounts(*profile, -1, split, nullptr);
}

// What a plan ranks experts by, and what it tells hit rates on.
struct Routing {
  RoutingCounts train_decode, train_prefill, told_decode, told_prefill;
  bool held_out = false;

  explicit Routing(const ExpertProfile* profile) {
    const Split train = Split::kTrain, held = Split::kHeldOut;
    train_decode = CountsOf(profile, &train, Phase::kDecode);
    train_prefill = CountsOf(profile, &train, Phase::kPrefill);
    if (train_decode.tokens == 0) {  // all that there is was held out
      train_decode = CountsOf(profile, nullptr, Phase::kDecode);
      train_prefill = CountsOf(profile, nullptr, Phase::kPrefill);
    }
    told_decode = CountsOf(profile, &held, Phase::kDecode);
    told_prefill = CountsOf(profile, &held, Phase::kPrefill);
    held_out = told_decode.tokens > 0 && train_decode.tokens > 0;
    if (held_out) return;
    told_decode = train_decode;
    told_prefill = train_prefill;
  }
};

double HitRate(const RoutingCounts& counts, const Residences& where) {
  int64_t all = 0, hot = 0;
  for (size_t i = 0; i < where.size(); ++i) {
    const int64_t hits = counts.tokens > 0 ? counts.hits[i] : 1;
    all += hits;
    if (where[i] == Residence::kGpu) hot += hits;
  }
  return all > 0 ? static_cast<double>(hot) / static_cast<double>(all) : 0;
}

struct StepKind {
  int32_t batch;
  int64_t context;
};

// The step that is made short. Offline: as many short sequences as the cache holds.
StepKind StepToPlanFor(const PlanGoals& goals) {
  if (goals.objective == PlanObjective::kLatency) return {goals.concurrency, goals.context};
  constexpr int64_t kShort = 4096, kMostRows = 256;
  const int64_t context = std::min(goals.context, kShort);
  const int64_t rows = std::min(goals.context * goals.concurrency / context, kMostRows);
  return {std::max(goals.concurrency, static_cast<int32_t>(rows)), context};
}

std::vector<RatePoint> PredictRates(const PlannerInput& in, const PlanDraft& draft,
                                    const PrefillPolicy& policy) {
  std::vector<int64_t> contexts = {128, 4096, in.goals.context};
  std::vector<int32_t> batches = {1, 8, 32, in.goals.concurrency, in.batch};
  std::ranges::sort(contexts);
  std::ranges::sort(batches);
  contexts.erase(std::unique(contexts.begin(), contexts.end()), contexts.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  std::vector<RatePoint> points;
  for (const int64_t context : contexts) {
    if (context > in.goals.context) continue;
    const StepTime prefill =
        draft.costs->Prefill(draft.where, context, policy.chunk_tokens, policy.stream);
    for (const int32_t batch : batches) {
      if (context * batch > draft.memory.kv_tokens) continue;
      const StepTime decode = draft.costs->Decode(draft.where, batch, context);
      points.push_back({.batch = batch,
                        .context = context,
                        .decode_tok_per_s = batch / decode.total_s,
                        .prefill_tok_per_s = static_cast<double>(context) / prefill.total_s,
                        .decode = decode,
                        .prefill = prefill});
    }
  }
  return points;
}

std::vector<std::vector<ExpertId>> ByLayer(const ModelShape& shape,
                                           const std::vector<HotPick>& picks) {
  std::vector<std::vector<ExpertId>> layers(shape.layers);
  for (const HotPick& pick : picks)
    layers[shape.dense_layers + pick.moe_layer].push_back({pick.expert});
  return layers;
}

Plan ToPlan(const PlannerInput& in, const ModelIdentity& identity, const ExpertProfile* profile,
            const Routing& routing, const PlanDraft& draft) {
  const MemoryPlan& memory = draft.memory;
  Plan plan;
  plan.model = identity;
  plan.machine = in.machine.name;
  plan.machine_id = in.machine.id;
  plan.rates = RatesText(in.machine.rates);
  plan.goals = in.goals;
  plan.gpu = memory.option.gpu;
  plan.kv_tokens = memory.kv_tokens;
  if (plan.gpu) plan.hot = ByLayer(in.shape, draft.hot);
  plan.hot_experts_leave_ram = draft.hot_experts_leave_ram;
  plan.numa = draft.numa;
  if (!draft.on_disk.empty()) plan.on_disk = ByLayer(in.shape, draft.on_disk);
  plan.prefill = {.stream = plan.gpu && memory.stream_bytes > 0,
                  .chunk_tokens = memory.chunk_tokens};
  if (plan.gpu)
    plan.prefill.break_even_tokens = draft.costs->BreakEven(draft.where, memory.chunk_tokens);
  plan.budget = BudgetOf(in, draft);
  plan.decode_hit_rate = HitRate(routing.told_decode, draft.where);
  plan.prefill_hit_rate = HitRate(routing.told_prefill, draft.where);
  plan.hit_rate_held_out = routing.held_out;
  plan.profile = routing.train_decode.tokens > 0 ? ProfileText(*profile) : "";
  plan.rates_at = PredictRates(in, draft, plan.prefill);
  plan.notes = NotesOf(in, draft, plan);
  return plan;
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const ModelShape& shape, const ModelIdentity& identity,
                              const Machine& machine, const ExpertProfile* profile,
                              const PlanGoals& goals) {
  TANDEM_RETURN_IF_ERROR(CheckGoals(shape, goals));
  TANDEM_RETURN_IF_ERROR(CheckProfile(identity, profile));
  if (!Fits(shape, machine, goals)) return DoesNotFit(shape, machine, goals);
  const Routing routing(profile);
  const RoutingModel decode(shape, routing.train_decode), prefill(shape, routing.train_prefill);
  const StepKind step = StepToPlanFor(goals);
  const PlannerInput input = {shape, machine, goals, decode, prefill, step.batch, step.context};
  std::optional<PlanDraft> best;
  for (const PlacementOption& option : PlacementOptions(shape, machine, goals)) {
    const MemoryPlan memory = PlanMemory(shape, machine, goals, option);
    if (!memory.fits()) continue;
    TANDEM_RETURN_IF_ERROR(CheckRates(machine, shape, goals.weight_bits, option.gpu));
    PlanDraft draft = MakeDraft(input, memory);
    if (!best || draft.step_s < best->step_s) best = std::move(draft);
  }
  return ToPlan(input, identity, profile, routing, *best);
}

}  // namespace tandem
