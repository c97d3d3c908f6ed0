#include "bench/moe_bench.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/expert_skew.h"
#include "core/bf16.h"
#include "core/log.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

const MoeBenchShape kShapes[] = {
    {"k2.6", 7168, 2048, 384, 8},
    {"k2", 7168, 2048, 384, 8},
    {"moonlight", 2048, 1408, 64, 6},
    {"small", 512, 256, 32, 4},
};
// Fewer weights than this could stay in a large last-level cache between runs.
constexpr int64_t kColdBytes = int64_t{2} << 30;
constexpr int kSources = 4;  // different random experts; the others repeat their values

// One random expert as a checkpoint holds it.
struct SourceExpert {
  struct Matrix {
    std::vector<uint8_t> packed;
    std::vector<bf16> scales;
    int64_t rows, inputs;
    Matrix(int64_t rows, int64_t inputs, std::mt19937_64& random)
        : packed(rows * inputs / 2), scales(rows * inputs / 32), rows(rows), inputs(inputs) {
      for (size_t i = 0; i + 8 <= packed.size(); i += 8) {
        const uint64_t bits = random();
        std::copy_n(reinterpret_cast<const uint8_t*>(&bits), 8, &packed[i]);
      }
      std::uniform_real_distribution<float> scale(0.001f, 0.01f);
      for (bf16& s : scales) s = ToBf16(scale(random));
    }
    Int4Matrix view() const {
      return {{packed.data(), {rows, inputs / 2}}, {scales.data(), {rows, inputs / 32}}};
    }
  };
  Matrix gate, up, down;
  SourceExpert(const MoeBenchShape& s, std::mt19937_64& random)
      : gate(s.intermediate, s.hidden, random),
        up(s.intermediate, s.hidden, random),
        down(s.hidden, s.intermediate, random) {}
  ExpertWeights weights() const { return {gate.view(), up.view(), down.view()}; }
};

absl::Status LoadAll(const MoeBenchShape& shape, int layers, std::mt19937_64& random,
                     WorkerTeam& team, CpuExperts& experts) {
  std::vector<SourceExpert> sources;
  for (int i = 0; i < kSources; ++i) sources.emplace_back(shape, random);
  absl::Status status;
  std::mutex mutex;
  team.ParallelFor(int64_t{layers} * shape.experts, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const absl::Status loaded = experts.LoadExpert({static_cast<int32_t>(i / shape.experts)},
                                                     {static_cast<int32_t>(i % shape.experts)},
                                                     sources[i % kSources].weights());
      std::lock_guard lock(mutex);
      status.Update(loaded);
    }
  });
  return status;
}

// Random inputs of one run.
struct Batch {
  std::vector<bf16> x;
  std::vector<int32_t> ids;
  std::vector<float> weights;
  int32_t distinct = 0;

  Batch(const MoeBenchShape& shape, int32_t tokens, const ExpertSkew& skew,
        std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    x.resize(int64_t{tokens} * shape.hidden);
    for (bf16& value : x) value = ToBf16(normal(random));
    for (int32_t t = 0; t < tokens; ++t) skew.Draw(shape.top_k, random, ids);
    weights.assign(ids.size(), 1.0f / shape.top_k);
    std::vector<bool> used(shape.experts, false);
    for (int32_t id : ids) {
      if (!used[id]) ++distinct;
      used[id] = true;
    }
  }
  RoutedTokens routed(const MoeBenchShape& shape) const {
    const int64_t tokens = static_cast<int64_t>(ids.size()) / shape.top_k;
    return {{x.data(), {tokens, shape.hidden}},
            {ids.data(), {tokens, shape.top_k}},
            {weights.data(), {tokens, shape.top_k}}};
  }
};

ExpertPlacements Placements(const MoeBenchOptions& options, int nodes, int layers) {
  if (options.placement == ExpertHome::kSharded) return {};
  std::vector<ExpertPlacement> layer;
  for (int32_t e = 0; e < options.shape.experts; ++e)
    layer.push_back({options.placement, e % nodes});
  return ExpertPlacements(layers, layer);
}

uint64_t Fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(float); ++i)
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Measure(const MoeBenchOptions& options, const ExpertSkew& skew, CpuExperts& experts,
             std::mt19937_64& random, MoeBenchResult& result) {
  const MoeBenchShape& shape = options.shape;
  std::vector<float> y(int64_t{result.tokens} * shape.hidden);
  const double operations =
      2.0 * result.tokens * shape.top_k * 3.0 * shape.hidden * shape.intermediate;
  std::vector<double> us, rates, fractions;
  double distinct = 0.0, spent_s = 0.0;
  constexpr int kWarmUps = 2, kFewest = 5;
  for (int run = -kWarmUps;; ++run) {
    const bool enough =
        options.runs > 0 ? run >= options.runs : run >= kFewest && (spent_s > 2.0 || run >= 200);
    if (enough) break;
    const Batch batch(shape, result.tokens, skew, random);
    const LayerId layer = {(run + kWarmUps) % result.layers_rotated};
    const auto begin = Clock::now();
    experts.Forward(layer, batch.routed(shape), {y.data(), {result.tokens, shape.hidden}});
    const double seconds = Seconds(begin);
    if (run == -kWarmUps) result.output_hash = Fnv1a(y);
    if (run < 0) continue;
    spent_s += seconds;
    const double bytes = static_cast<double>(batch.distinct) * experts.expert_bytes();
    const double roof_s = std::max(bytes / (result.roofline.read_gb_per_s * 1e9),
                                   operations / (result.peak_gops() * 1e9));
    us.push_back(seconds * 1e6);
    rates.push_back(bytes / seconds * 1e-9);
    fractions.push_back(roof_s / seconds);
    distinct += batch.distinct;
  }
  result.runs = static_cast<int>(us.size());
  result.distinct_experts = distinct / result.runs;
  result.median_us = Median(us);
  result.min_us = *std::min_element(us.begin(), us.end());
  result.max_us = *std::max_element(us.begin(), us.end());
  result.gb_per_s = Median(rates);
  result.gops = operations / (result.median_us * 1e-6) * 1e-9;
  result.fraction_of_roofline = Median(fractions);
  result.best_fraction = *std::max_element(fractions.begin(), fractions.end());
}

absl::Status Check(const MoeBenchOptions& options) {
  const MoeBenchShape& shape = options.shape;
  const auto fewest = std::min_element(options.tokens.begin(), options.tokens.end());
  if (fewest != options.tokens.end() && *fewest >= 1 && shape.top_k >= 1 &&
      shape.experts >= shape.top_k)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("bench moe needs tokens >= 1 and experts >= top_k >= 1; got tokens ",
                   fewest == options.tokens.end() ? 0 : *fewest, ", experts ", shape.experts,
                   ", top_k ", shape.top_k));
}

// Loaded experts in as many layers as make their weights cold; fills in what `result` says of them.
absl::StatusOr<std::unique_ptr<CpuExperts>> MakeExperts(const MoeBenchOptions& options,
                                                        std::mt19937_64& random, WorkerTeam& team,
                                                        MoeBenchResult& result) {
  const MoeBenchShape& shape = options.shape;
  const int64_t layer_bytes =
      int64_t{shape.hidden} * shape.intermediate * 3 * 9 / 16 * shape.experts;
  result.layers_rotated =
      static_cast<int>(std::clamp<int64_t>((kColdBytes + layer_bytes - 1) / layer_bytes, 1, 4096));
  ExpertsShape experts_shape;
  experts_shape.hidden = shape.hidden;
  experts_shape.intermediate = shape.intermediate;
  experts_shape.top_k = shape.top_k;
  experts_shape.experts.assign(result.layers_rotated, shape.experts);
  CpuExpertsOptions experts_options;
  experts_options.activations = options.activations;
  experts_options.kernel = options.kernel;
  experts_options.max_tokens = *std::max_element(options.tokens.begin(), options.tokens.end());
  experts_options.placements = Placements(options, team.nodes(), result.layers_rotated);
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<CpuExperts> experts,
                          CpuExperts::Create(experts_shape, experts_options, team));
  const auto begin = Clock::now();
  TANDEM_RETURN_IF_ERROR(LoadAll(shape, result.layers_rotated, random, team, *experts));
  result.pack_gb_per_s = experts->weight_bytes() / Seconds(begin) * 1e-9;
  result.kernel = experts->kernel_name();
  result.activations = NameOf(options.activations);
  result.shape = shape;
  result.threads = team.size();
  result.nodes = team.nodes();
  result.skew = options.skew;
  return experts;
}

}  // namespace

absl::StatusOr<MoeBenchShape> FindMoeBenchShape(const std::string& name) {
  std::string known;
  for (const MoeBenchShape& shape : kShapes) {
    if (shape.name == name) return shape;
    absl::StrAppend(&known, known.empty() ? "" : ", ", shape.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown shape \"", name, "\"; known: ", known));
}

absl::StatusOr<std::vector<MoeBenchResult>> RunMoeBench(const MoeBenchOptions& options) {
  TANDEM_RETURN_IF_ERROR(Check(options));
  const MoeBenchShape& shape = options.shape;
  WorkerTeamOptions team_options{.workers = options.threads};
  if (!options.topology.empty()) {
    TANDEM_ASSIGN_OR_RETURN(team_options.topology, SyntheticTopology(options.topology));
  }
  WorkerTeam team(std::move(team_options));
  for (const std::string& warning : team.warnings()) LogWarning("{}", warning);
  std::mt19937_64 random(options.seed);
  TANDEM_ASSIGN_OR_RETURN(const ExpertSkew skew,
                          ExpertSkew::Create(options.skew, shape.experts, random));
  MoeBenchResult common;
  TANDEM_ASSIGN_OR_RETURN(common.roofline, MeasureRoofline(team));
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<CpuExperts> experts,
                          MakeExperts(options, random, team, common));

  const WorkerTeam::Awake awake(team);  // as in an engine that has requests
  std::vector<MoeBenchResult> results;
  for (const int32_t tokens : options.tokens) {
    MoeBenchResult& result = results.emplace_back(common);
    result.tokens = tokens;
    TANDEM_ASSIGN_OR_RETURN(const Roofline again, MeasureRoofline(team));
    result.roofline.TakeBest(again);
    common.roofline = result.roofline;
    Measure(options, skew, *experts, random, result);
  }
  return results;
}

double MoeBenchResult::peak_gops() const {
  return kernel == "amx" && roofline.tile_gops > 0 ? roofline.tile_gops : roofline.int8_gops;
}

std::string MoeBenchResult::ToText() const {
  return absl::StrFormat(
      "%s %s %s, %d tokens on %.1f experts | %.0f us (%.0f..%.0f, %d runs) | %.1f GB/s of %.1f | "
      "%.0f GOPS of %.0f | %.0f %% of roofline (best run %.0f %%) | packed at %.1f GB/s | "
      "hash %016x",
      kernel, activations, shape.name, tokens, distinct_experts, median_us, min_us, max_us, runs,
      gb_per_s, roofline.read_gb_per_s, gops, peak_gops(), fraction_of_roofline * 100,
      best_fraction * 100, pack_gb_per_s, output_hash);
}

std::string MoeBenchResult::ToJson() const {
  return nlohmann::json{{"kernel", kernel},
                        {"activations", activations},
                        {"shape", shape.name},
                        {"hidden", shape.hidden},
                        {"intermediate", shape.intermediate},
                        {"experts", shape.experts},
                        {"top_k", shape.top_k},
                        {"tokens", tokens},
                        {"distinct_experts", distinct_experts},
                        {"layers_rotated", layers_rotated},
                        {"threads", threads},
                        {"nodes", nodes},
                        {"skew", skew},
                        {"runs", runs},
                        {"median_us", median_us},
                        {"min_us", min_us},
                        {"max_us", max_us},
                        {"gb_per_s", gb_per_s},
                        {"roofline_gb_per_s", roofline.read_gb_per_s},
                        {"gops", gops},
                        {"peak_gops", peak_gops()},
                        {"fraction_of_roofline", fraction_of_roofline},
                        {"best_fraction", best_fraction},
                        {"pack_gb_per_s", pack_gb_per_s},
                        {"output_hash", absl::StrFormat("%016x", output_hash)}}
      .dump();
}

}  // namespace tandem
