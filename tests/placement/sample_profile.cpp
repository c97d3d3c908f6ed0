#include "tests/placement/sample_profile.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace tandem {
namespace {

constexpr int64_t kWindowTokens = 256;
constexpr double kExponent = 0.6;

class Maker {
 public:
  explicit Maker(const SampleOptions& options) : options_(options), random_(options.seed) {
    profile_.model = {.architecture = "kimi_k25",
                      .layers = options.layers,
                      .dense_layers = options.dense_layers,
                      .hidden = 7168,
                      .experts = options.experts,
                      .top_k = options.top_k,
                      .expert_intermediate = 2048,
                      .router_hash = 0x1f3c5a7b9d2e4f60};
    profile_.window_tokens = kWindowTokens;
    profile_.recorded_unix_s = 1'790'000'000;
    profile_.reuse.resize(int64_t{profile_.model.moe_layers()} * kReuseBuckets);
  }

  ExpertProfile Make() {
    for (const std::string& name : options_.labels) AddLabel(name);
    FillSteps();
    return std::move(profile_);
  }

 private:
  int64_t cells() const { return int64_t{profile_.model.moe_layers()} * options_.experts; }

  // Which expert of a layer is how popular: half of the places are the label's own.
  std::vector<std::vector<int32_t>> Popularity() {
    std::vector<std::vector<int32_t>> order(profile_.model.moe_layers());
    for (size_t layer = 0; layer < order.size(); ++layer) {
      order[layer].resize(options_.experts);
      std::iota(order[layer].begin(), order[layer].end(), 0);
      std::mt19937 common(static_cast<uint32_t>(layer));
      std::shuffle(order[layer].begin(), order[layer].end(), common);
      std::shuffle(order[layer].begin(), order[layer].begin() + options_.experts / 2, random_);
    }
    return order;
  }

  std::vector<int32_t> Choose(const std::vector<int32_t>& order, double exponent) {
    std::vector<int32_t> chosen;
    std::uniform_real_distribution<double> uniform(0, 1);
    while (static_cast<int>(chosen.size()) < options_.top_k) {
      const double place =
          std::pow(uniform(random_), 1 / (1 - exponent)) * static_cast<double>(order.size());
      const int32_t expert = order[std::min(static_cast<size_t>(place), order.size() - 1)];
      if (std::find(chosen.begin(), chosen.end(), expert) == chosen.end()) chosen.push_back(expert);
    }
    return chosen;
  }

  void AddTokens(RoutingCounts& counts, int64_t tokens, bool decode,
                 const std::vector<std::vector<int32_t>>& popularity) {
    counts.tokens = tokens;
    for (int64_t token = 0; token < tokens; ++token) {
      if (decode) NextWindowToken();
      for (int layer = 0; layer < profile_.model.moe_layers(); ++layer)
        for (const int32_t expert :
             Choose(popularity[layer], kExponent * layer / profile_.model.moe_layers())) {
          const int64_t cell = int64_t{layer} * options_.experts + expert;
          ++counts.hits[cell];
          counts.mass[cell] += 1.0 / options_.top_k;
          if (decode) ++profile_.windows.back().hits[cell];
        }
    }
  }

  void NextWindowToken() {
    if (profile_.windows.empty() || profile_.windows.back().tokens == kWindowTokens)
      profile_.windows.push_back({.hits = std::vector<int32_t>(cells())});
    ++profile_.windows.back().tokens;
  }

  void AddLabel(const std::string& name) {
    LabelProfile label = {.name = name};
    for (auto& split : label.counts)
      for (RoutingCounts& counts : split) {
        counts.hits.resize(cells());
        counts.mass.resize(cells());
      }
    const auto popularity = Popularity();
    for (int s = 0; s < (options_.held_out ? kSplits : 1); ++s) {
      AddTokens(label.counts[s][0], options_.prefill_tokens / (2 * s + 1), false, popularity);
      AddTokens(label.counts[s][1], options_.decode_tokens / (2 * s + 1), true, popularity);
    }
    profile_.labels.push_back(std::move(label));
  }

  // A tenth of all rows in steps of 1, 2, 4, ..., 512 rows, and what is left over one by one.
  void FillDistinct() {
    int64_t left = profile_.tokens();
    for (int i = 9; i >= 0; --i) {
      const int64_t rows = int64_t{1} << i;
      const int64_t steps = i == 0 ? left : profile_.tokens() / 10 / rows;
      const double share = static_cast<double>(options_.top_k) / options_.experts;
      const double distinct =
          options_.experts * (1 - std::pow(1 - share, 0.8 * static_cast<double>(rows)));
      profile_.distinct[i] = {
          .steps = steps, .rows = steps * rows, .distinct = static_cast<double>(steps) * distinct};
      left -= steps * rows;
    }
  }

  void FillReuse() {
    int64_t decoded = 0;
    for (const ProfileWindow& window : profile_.windows) decoded += window.tokens;
    for (int layer = 0; layer < profile_.model.moe_layers(); ++layer) {
      int64_t left = decoded * options_.top_k;
      int64_t* reuse = &profile_.reuse[int64_t{layer} * kReuseBuckets];
      for (int i = 0; i < kReuseBuckets; ++i) {
        reuse[i] =
            std::llround(0.25 * std::exp(-0.2 * std::pow(i - 4.0, 2)) * static_cast<double>(left));
        left -= reuse[i];
      }
      reuse[kReuseBuckets - 1] += left;
    }
  }

  void FillSteps() {
    FillDistinct();
    FillReuse();
    profile_.pair_tokens = std::min<int64_t>(500, profile_.tokens());
    for (int i = 0; i < 14 && profile_.pair_tokens > 54 && profile_.model.moe_layers() > 1; ++i)
      profile_.pairs.push_back({.moe_layer = i % (profile_.model.moe_layers() - 1),
                                .next_layer = i % 3 == 0,
                                .first = i % options_.experts,
                                .second = (i * 7 + 1) % options_.experts,
                                .count = 40 + i});
  }

  SampleOptions options_;
  std::mt19937 random_;
  ExpertProfile profile_;
};

}  // namespace

ExpertProfile MakeSampleProfile(const SampleOptions& options) { return Maker(options).Make(); }

}  // namespace tandem
