// `tandem simulate`: replays a routing trace against ways to choose the hot experts, for several
// numbers of them side by side.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/model_config.h"
#include "engine/machine_here.h"
#include "placement/machine_file.h"
#include "placement/plan_file.h"
#include "placement/profile_file.h"
#include "placement/simulated_rate.h"
#include "placement/simulator.h"
#include "tools/command.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string trace, profile, plan, model, machine;
  std::vector<int64_t> hot;
  std::vector<double> hot_percent;
  std::vector<std::string> policies;
  SimulationOptions simulation;
  int64_t context = 4096;
  bool all_requests = false, by_layer = false, json = false;
};

// A number of hot experts, and what came of it.
struct Capacity {
  std::string name;  // "6 %", "1,400", "plan"
  HotLists start;
  std::vector<SimulationResult> results;  // [policies]
  std::vector<double> tok_per_s;          // [policies]; empty: not predicted
};

struct Simulated {
  RoutingTrace trace;
  std::string ranked_by;
  std::vector<HotPolicy> policies;
  std::vector<Capacity> capacities;
  std::string machine;  // "" without predictions
};

struct Prediction {
  ModelShape shape;
  Machine machine;
};

std::vector<HotPolicy> PoliciesOf(const Options& options) {
  std::vector<HotPolicy> policies;
  for (const HotPolicy policy : kHotPolicies)
    if (options.policies.empty() || std::ranges::count(options.policies, Name(policy)) > 0)
      policies.push_back(policy);
  return policies;
}

// The counts that static sets and all starting sets are chosen by.
absl::StatusOr<RoutingCounts> Ranking(const Options& options, const RoutingTrace& trace) {
  if (options.profile.empty()) return CountTraining(trace);
  TANDEM_ASSIGN_OR_RETURN(const ExpertProfile profile, ReadProfile(options.profile));
  TANDEM_RETURN_IF_ERROR(
      CheckSameModel(absl::StrCat("profile ", options.profile), profile.model, trace.model));
  const Split train = Split::kTrain;
  return SumCounts(profile, -1, &train);
}

absl::StatusOr<std::vector<Capacity>> Capacities(const Options& options,
                                                 const RoutingTrace& trace) {
  TANDEM_ASSIGN_OR_RETURN(const RoutingCounts counts, Ranking(options, trace));
  std::vector<Capacity> capacities;
  std::vector<double> percents = options.hot_percent;
  if (percents.empty() && options.hot.empty() && options.plan.empty()) percents = {2, 6, 12, 25};
  for (const double percent : percents) {
    const auto per_layer = static_cast<int32_t>(percent / 100 * trace.model.experts);
    capacities.push_back({.name = absl::StrFormat("%g %%", percent),
                          .start = MostUsedPerLayer(trace.model, counts, per_layer)});
  }
  for (const int64_t total : options.hot)
    capacities.push_back(
        {.name = absl::StrCat(total), .start = MostUsed(trace.model, counts, total)});
  if (!options.plan.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const Plan plan, ReadPlan(options.plan));
    TANDEM_RETURN_IF_ERROR(
        CheckSameModel(absl::StrCat("plan ", options.plan), plan.model, trace.model));
    HotLists start = plan.hot;
    start.resize(trace.model.layers);  // empty: a plan without a GPU
    capacities.push_back({.name = "plan", .start = std::move(start)});
  }
  return capacities;
}

absl::StatusOr<std::optional<Prediction>> PredictionOf(const Options& options,
                                                       const ModelIdentity& model) {
  if (options.model.empty()) return std::nullopt;
  std::filesystem::path dir = options.model;
  if (dir.filename() == "config.json") dir = dir.has_parent_path() ? dir.parent_path() : ".";
  TANDEM_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(dir.string()));
  Prediction prediction = {.shape = config.shape};
  if (!options.machine.empty()) {
    TANDEM_ASSIGN_OR_RETURN(prediction.machine, LoadMachine(options.machine));
  } else {
    prediction.machine = MachineHere();
  }
  TANDEM_RETURN_IF_ERROR(CheckPredicts(model, prediction.shape, prediction.machine));
  return prediction;
}

absl::StatusOr<Simulated> SimulateTrace(const Options& options) {
  Simulated out;
  TANDEM_ASSIGN_OR_RETURN(out.trace, ReadRoutingTrace(options.trace));
  out.policies = PoliciesOf(options);
  out.ranked_by = !options.profile.empty() ? absl::StrCat("profile ", options.profile)
                                           : "the requests that are not held out";
  TANDEM_ASSIGN_OR_RETURN(const auto prediction, PredictionOf(options, out.trace.model));
  TANDEM_ASSIGN_OR_RETURN(out.capacities, Capacities(options, out.trace));
  SimulationOptions simulation = options.simulation;
  simulation.held_out_only = !options.all_requests;
  if (prediction) SetCosts(prediction->shape, prediction->machine, simulation.adapter);
  std::vector<HotLists> starts;
  for (const Capacity& capacity : out.capacities) starts.push_back(capacity.start);
  TANDEM_ASSIGN_OR_RETURN(auto results, SimulateAll(out.trace, starts, out.policies, simulation));
  for (size_t c = 0; c < starts.size(); ++c) {
    Capacity& capacity = out.capacities[c];
    capacity.results = std::move(results[c]);
    if (!prediction) continue;
    out.machine = prediction->machine.name;
    for (const SimulationResult& result : capacity.results)
      capacity.tok_per_s.push_back(PredictDecode(result, capacity.start, prediction->shape,
                                                 prediction->machine, options.context));
  }
  return out;
}

int64_t CountHot(const HotLists& hot) {
  int64_t n = 0;
  for (const auto& layer : hot) n += std::ssize(layer);
  return n;
}

// What was simulated, and on what the hit rates rest.
void PrintHead(const Options& options, const Simulated& out) {
  int64_t requests = 0, counted = 0;
  for (const TraceStep& step : out.trace.steps) {
    for (const TraceRow& row : step.rows) {
      requests = std::max<int64_t>(requests, int64_t{row.sequence} + 1);
      counted += options.all_requests || row.sequence % kHeldOutEvery == kHeldOutEvery - 1;
    }
  }
  std::printf("trace      %s: %lld tokens in %zu steps, requests 0 to %lld, %s\n",
              options.trace.c_str(), static_cast<long long>(out.trace.tokens()),
              out.trace.steps.size(), static_cast<long long>(requests - 1),
              Describe(out.trace.model).c_str());
  std::printf("ranking    by %s\n", out.ranked_by.c_str());
  if (options.all_requests) {
    std::printf(
        "hit rates  of all %lld tokens: a static set ranked on the same requests looks "
        "better than it is\n",
        static_cast<long long>(counted));
  } else {
    std::printf("hit rates  of the %lld tokens of held-out requests (3, 7, 11, ...)\n",
                static_cast<long long>(counted));
  }
  if (!out.machine.empty())
    std::printf("tok/s      predicted for one sequence with %lld cached tokens on %s\n",
                static_cast<long long>(options.context), out.machine.c_str());
  std::printf("\n");
}

void PrintTable(const Simulated& out) {
  const bool rates = !out.machine.empty();
  const int width = rates ? 38 : 30;
  std::printf("%-11s", "");
  for (const Capacity& capacity : out.capacities) {
    std::printf("| %-*s", width - 1,
                absl::StrFormat("%s: %d hot", capacity.name, CountHot(capacity.start)).c_str());
  }
  std::printf("\n%-11s", "policy");
  for (size_t c = 0; c < out.capacities.size(); ++c)
    std::printf("| prefill  decode  moves/tok %s", rates ? "  tok/s  " : " ");
  std::printf("\n");
  for (size_t p = 0; p < out.policies.size(); ++p) {
    std::printf("%-11s", std::string(Name(out.policies[p])).c_str());
    for (const Capacity& capacity : out.capacities) {
      const SimulationResult& result = capacity.results[p];
      std::printf("| %5.1f %% %5.1f %%  %9.4f ", 100 * result.of(Phase::kPrefill).rate(),
                  100 * result.of(Phase::kDecode).rate(), result.moves_per_decoded_token);
      std::printf(rates ? " %6.1f  " : " ", rates ? capacity.tok_per_s[p] : 0.0);
    }
    std::printf("\n");
  }
  std::printf(
      "\nmoves/tok: experts sent per decoded token, in all layers together; what prompts "
      "alone caused is left out.\n");
}

// Decode hit rates.
void PrintLayers(const Simulated& out) {
  for (const Capacity& capacity : out.capacities) {
    std::printf("\ndecode hits by layer, %s\nlayer   hot", capacity.name.c_str());
    for (const HotPolicy policy : out.policies)
      std::printf(" %11s", std::string(Name(policy)).c_str());
    std::printf("\n");
    for (int32_t l = 0; l < out.trace.model.moe_layers(); ++l) {
      const int32_t layer = out.trace.model.dense_layers + l;
      std::printf("%5d %5zu", layer, capacity.start[layer].size());
      for (const SimulationResult& result : capacity.results)
        std::printf("     %5.1f %%",
                    100 * result.layers[l].counts[static_cast<int>(Phase::kDecode)].rate());
      std::printf("\n");
    }
  }
}

Json ToJson(const SimulationResult& result) {
  Json json = {{"policy", Name(result.policy)}};
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    const char* const name = phase == Phase::kPrefill ? "prefill" : "decode";
    Json layers = Json::array();
    for (const LayerResult& layer : result.layers)
      layers.push_back(layer.counts[static_cast<int>(phase)].rate());
    json[name] = {{"hit_rate", result.of(phase).rate()},
                  {"pairs", result.of(phase).pairs},
                  {"hit_rate_by_layer", std::move(layers)}};
  }
  json["moves"] = result.moves;
  json["bytes_moved"] = result.bytes;
  json["moves_per_token"] = result.moves_per_token;
  json["moves_per_decoded_token"] = result.moves_per_decoded_token;
  return json;
}

Json ToJson(const Options& options, const Simulated& out) {
  Json capacities = Json::array();
  for (const Capacity& capacity : out.capacities) {
    Json policies = Json::array();
    for (size_t p = 0; p < out.policies.size(); ++p) {
      policies.push_back(ToJson(capacity.results[p]));
      if (!capacity.tok_per_s.empty()) policies.back()["decode_tok_per_s"] = capacity.tok_per_s[p];
    }
    capacities.push_back({{"name", capacity.name},
                          {"hot_experts", CountHot(capacity.start)},
                          {"policies", std::move(policies)}});
  }
  return {{"trace", options.trace},     {"tokens", out.trace.tokens()},
          {"ranked_by", out.ranked_by}, {"held_out_only", !options.all_requests},
          {"machine", out.machine},     {"context", options.context},
          {"capacities", capacities}};
}

int Run(const Options& options) {
  const auto out = SimulateTrace(options);
  if (!out.ok()) return Fail(out.status());
  if (options.json) {
    std::printf("%s\n", ToJson(options, *out).dump(2).c_str());
    return 0;
  }
  PrintHead(options, *out);
  PrintTable(*out);
  if (options.by_layer) PrintLayers(*out);
  return 0;
}

void AddAdapterFlags(CLI::App* sub, AdapterOptions& adapter) {
  sub->add_option("--half-life", adapter.half_life_tokens, "ema: in decoded tokens")
      ->check(CLI::Range(1.0, 1e12))
      ->capture_default_str();
  sub->add_option("--dwell", adapter.dwell_tokens,
                  "ema: decoded tokens for which an expert stays where it was moved to")
      ->capture_default_str();
  sub->add_option("--interval", adapter.interval_tokens, "ema: decoded tokens between rounds")
      ->capture_default_str();
  sub->add_option("--horizon", adapter.horizon_tokens,
                  "ema: decoded tokens within which a move has to pay")
      ->capture_default_str();
  sub->add_option("--sigmas", adapter.sigmas,
                  "ema: how far from chance a difference in use has to be")
      ->capture_default_str();
}

}  // namespace

void AddSimulate(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add(
      "simulate", "hit rates of ways to choose the hot experts, over a recorded routing trace",
      "  tandem simulate work.trace --hot-percent 6 --hot-percent 12\n"
      "  tandem simulate work.trace --profile other.profile --plan work.plan\n"
      "  tandem simulate work.trace --hot 1400 --model Kimi-K2.6 --machine spr-2s-h100");
  Options& o = *options;
  std::vector<std::string> names;
  for (const HotPolicy policy : kHotPolicies) names.emplace_back(Name(policy));
  sub->add_option("trace", o.trace, "a trace (tandem profile --trace)")
      ->type_name("TRACE")
      ->required();
  sub->add_option("--profile", o.profile, "rank the experts by this profile, not by the trace");
  sub->add_option("--plan", o.plan, "the hot experts of this plan as well");
  sub->add_option("--hot", o.hot, "hot experts of all layers together, the most used ones")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  sub->add_option("--hot-percent", o.hot_percent, "percent of every layer's experts that are hot")
      ->check(CLI::Range(0.0, 100.0));
  sub->add_option("--policy", o.policies, "only these; else all")->check(CLI::IsMember(names));
  sub->add_option("--model", o.model,
                  "checkpoint folder, or a config.json: predict tokens per second");
  sub->add_option("--machine", o.machine, "for the prediction: a name or file; else this machine");
  sub->add_option("--context", o.context, "for the prediction: cached tokens")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  AddAdapterFlags(sub, o.simulation.adapter);
  sub->add_flag("--all-requests", o.all_requests,
                "tell hit rates of all requests, not of the held-out ones only");
  sub->add_flag("--by-layer", o.by_layer, "decode hit rates of every layer");
  sub->add_flag("--json", o.json, "print JSON");
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
