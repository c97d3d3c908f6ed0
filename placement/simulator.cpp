#include "placement/simulator.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "placement/footprint.h"

namespace tandem {

RoutingCounts CountTraining(const RoutingTrace& trace) {
  const int64_t layers = trace.model.moe_layers(), experts = trace.model.experts;
  RoutingCounts counts{.hits = std::vector<int64_t>(layers * experts)};
  for (const TraceStep& step : trace.steps) {
    const uint16_t* id = step.ids.data();
    for (const TraceRow& row : step.rows) {
      const bool train = row.sequence % kHeldOutEvery != kHeldOutEvery - 1;
      counts.tokens += train;
      for (int64_t l = 0; l < layers; ++l)
        for (int32_t k = 0; k < trace.model.top_k; ++k) counts.hits[l * experts + *id++] += train;
    }
  }
  return counts;
}

namespace {

// The `count` most used of [first, last) in the counts, the most used first.
std::vector<int64_t> Top(const RoutingCounts& counts, int64_t first, int64_t last, int64_t count) {
  std::vector<int64_t> order(last - first);
  std::iota(order.begin(), order.end(), first);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](int64_t i) { return counts.hits[i]; });
  order.resize(std::clamp<int64_t>(count, 0, std::ssize(order)));
  return order;
}

void Append(const ModelIdentity& model, const std::vector<int64_t>& chosen, HotLists& hot) {
  for (const int64_t i : chosen)
    hot[model.dense_layers + i / model.experts].push_back(
        {static_cast<int32_t>(i % model.experts)});
}

}  // namespace

HotLists MostUsed(const ModelIdentity& model, const RoutingCounts& counts, int64_t total) {
  HotLists hot(model.layers);
  Append(model, Top(counts, 0, int64_t{model.moe_layers()} * model.experts, total), hot);
  return hot;
}

HotLists MostUsedPerLayer(const ModelIdentity& model, const RoutingCounts& counts,
                          int32_t per_layer) {
  HotLists hot(model.layers);
  for (int64_t l = 0; l < model.moe_layers(); ++l)
    Append(model, Top(counts, l * model.experts, (l + 1) * model.experts, per_layer), hot);
  return hot;
}

HitCount SimulationResult::of(Phase phase) const {
  HitCount sum;
  for (const LayerResult& layer : layers) {
    sum.hits += layer.counts[static_cast<int>(phase)].hits;
    sum.pairs += layer.counts[static_cast<int>(phase)].pairs;
  }
  return sum;
}

HitCount SimulationResult::all() const {
  const HitCount prefill = of(Phase::kPrefill), decode = of(Phase::kDecode);
  return {prefill.hits + decode.hits, prefill.pairs + decode.pairs};
}

namespace {

void RunOnThreads(int32_t threads, const std::vector<std::function<void()>>& jobs) {
  if (threads <= 0) threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < jobs.size(); i = next++) jobs[i]();
  };
  std::vector<std::jthread> others;
  for (size_t t = 1; t < std::min<size_t>(threads, jobs.size()); ++t) others.emplace_back(work);
  work();
}

absl::Status CheckStart(const ModelIdentity& model, const HotLists& start) {
  if (std::ssize(start) != model.layers) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hot experts of ", start.size(), " layers for a trace of ", model.layers, " layers"));
  }
  for (int32_t l = 0; l < model.layers; ++l) {
    std::vector<uint8_t> seen(model.experts);
    for (const ExpertId e : start[l]) {
      if (l < model.dense_layers || e.value < 0 || e.value >= model.experts || seen[e.value]++)
        return absl::InvalidArgumentError(
            absl::StrCat("expert ", e.value, " of layer ", l, " is none, or hot twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRows(const TraceRows& rows) {
  if (rows.rows.empty()) return absl::InvalidArgumentError("the trace is empty");
  if (std::ranges::count(rows.counted, 1) > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the trace has no held-out request (every fourth is): record at least four, or count all");
}

// Fills results[start][policy].layers. Threads write to different places.
class Simulation {
 public:
  Simulation(const RoutingTrace& trace, const TraceRows& rows, const std::vector<HotLists>& starts,
             const SimulationOptions& options, std::vector<std::vector<SimulationResult>>& results)
      : trace_(trace), rows_(rows), starts_(starts), options_(options), results_(results) {}

  // A job for each adapter, one for each layer with all else; the adapters first, as they are the
  // longest.
  void Run() {
    std::vector<std::function<void()>> jobs;
    for (size_t s = 0; s < starts_.size(); ++s) {
      for (SimulationResult& result : results_[s]) {
        if (result.policy != HotPolicy::kEma) continue;
        jobs.push_back([this, s, &result] {
          result.layers = ReplayAdapter(trace_, rows_, starts_[s], options_.adapter);
        });
      }
    }
    for (int32_t l = 0; l < trace_.model.moe_layers(); ++l)
      jobs.push_back([this, l] { RunLayer(l); });
    RunOnThreads(options_.threads, jobs);
  }

 private:
  void RunLayer(int32_t moe_layer) {
    const LayerTrace layer = CutLayer(trace_, rows_, moe_layer);
    for (size_t s = 0; s < starts_.size(); ++s) {
      const std::vector<ExpertId>& start = starts_[s][trace_.model.dense_layers + moe_layer];
      for (SimulationResult& result : results_[s])
        if (result.policy != HotPolicy::kEma)
          result.layers[moe_layer] = ReplayLayer(rows_, layer, result.policy, start);
    }
  }

  const RoutingTrace& trace_;
  const TraceRows& rows_;
  const std::vector<HotLists>& starts_;
  const SimulationOptions& options_;
  std::vector<std::vector<SimulationResult>>& results_;
};

}  // namespace

absl::StatusOr<std::vector<std::vector<SimulationResult>>> SimulateAll(
    const RoutingTrace& trace, const std::vector<HotLists>& starts,
    const std::vector<HotPolicy>& policies, const SimulationOptions& options) {
  for (const HotLists& start : starts) TANDEM_RETURN_IF_ERROR(CheckStart(trace.model, start));
  const TraceRows rows = FlattenRows(trace, options.held_out_only);
  TANDEM_RETURN_IF_ERROR(CheckRows(rows));
  std::vector<std::vector<SimulationResult>> results(starts.size());
  for (auto& of_start : results)
    for (const HotPolicy policy : policies)
      of_start.push_back(
          {.policy = policy, .layers = std::vector<LayerResult>(trace.model.moe_layers())});
  Simulation(trace, rows, starts, options, results).Run();
  for (auto& of_start : results) {
    for (SimulationResult& result : of_start) {
      int64_t decode_moves = 0;
      for (const LayerResult& layer : result.layers) {
        result.moves += layer.moves;
        decode_moves += layer.decode_moves;
      }
      result.bytes = result.moves * ExpertBytes(trace.model);
      result.moves_per_token = static_cast<double>(result.moves) / std::ssize(rows.rows);
      if (rows.decoded > 0)
        result.moves_per_decoded_token = static_cast<double>(decode_moves) / rows.decoded;
    }
  }
  return results;
}

absl::StatusOr<std::vector<SimulationResult>> Simulate(const RoutingTrace& trace,
                                                       const HotLists& start,
                                                       const std::vector<HotPolicy>& policies,
                                                       const SimulationOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(auto results, SimulateAll(trace, {start}, policies, options));
  return std::move(results.front());
}

}  // namespace tandem
