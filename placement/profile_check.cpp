#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "absl/strings/str_cat.h"
#include "placement/profile_file.h"

namespace tandem {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 40;
constexpr int64_t kMaxCells = int64_t{1} << 22;  // Kimi K2.6 has 23,040

template <class... Args>
absl::Status Wrong(const Args&... args) {
  return absl::DataLossError(absl::StrCat(args...));
}

// Numbers >= 0 per layer that sum up to `expected`.
template <class T>
absl::Status CheckSums(const std::string& what, std::span<const T> values, int64_t layers,
                       int64_t per_layer, int64_t expected) {
  if (std::ssize(values) != layers * per_layer)
    return Wrong(what, ": ", values.size(), " numbers; expected ", layers * per_layer);
  for (int64_t layer = 0; layer < layers; ++layer) {
    int64_t sum = 0;
    for (const int64_t value : values.subspan(layer * per_layer, per_layer)) {
      if (value < 0) return Wrong(what, ": a negative count");
      if (value > expected - sum) return Wrong(what, ": layer ", layer, " counts too much");
      sum += value;
    }
    if (sum != expected)
      return Wrong(what, ": layer ", layer, " sums up to ", sum, "; expected ", expected);
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(const ModelIdentity& model, const std::string& what,
                         const RoutingCounts& counts) {
  if (counts.tokens < 0 || counts.tokens > kMaxTokens)
    return Wrong(what, ": ", counts.tokens, " tokens");
  TANDEM_RETURN_IF_ERROR(CheckSums<int64_t>(what, counts.hits, model.moe_layers(), model.experts,
                                            counts.tokens * model.top_k));
  if (counts.mass.size() != counts.hits.size())
    return Wrong(what, ": ", counts.mass.size(), " router masses for ", counts.hits.size(),
                 " counts");
  for (size_t cell = 0; cell < counts.mass.size(); ++cell) {
    const double mass = counts.mass[cell];
    if (!std::isfinite(mass) || mass < 0 || (mass > 0 && counts.hits[cell] == 0))
      return Wrong(what, ": a router mass of ", mass, " on ", counts.hits[cell], " hits");
  }
  return absl::OkStatus();
}

absl::Status CheckLabels(const ExpertProfile& profile) {
  std::set<std::string> names;
  for (const LabelProfile& label : profile.labels) {
    const std::string what = absl::StrCat("label \"", label.name, "\"");
    if (!names.insert(label.name).second) return Wrong(what, " is there twice");
    for (const auto& split : label.counts)
      for (const RoutingCounts& counts : split)
        TANDEM_RETURN_IF_ERROR(CheckCounts(profile.model, what, counts));
  }
  const int64_t tokens = profile.tokens();
  if (tokens == 0) return Wrong("it holds no tokens");
  return tokens <= kMaxTokens ? absl::OkStatus() : Wrong(tokens, " tokens");
}

absl::Status CheckDistinct(const ExpertProfile& profile, int64_t tokens) {
  int64_t rows = 0;
  for (int i = 0; i < kRowBuckets; ++i) {
    const DistinctExperts& bucket = profile.distinct[i];
    if (bucket.steps < 0 || bucket.steps > tokens || bucket.rows < (bucket.steps << i) ||
        bucket.rows > tokens ||
        (i + 1 < kRowBuckets && bucket.steps > 0 && bucket.rows >= (bucket.steps << (i + 1)))) {
      return Wrong(bucket.rows, " rows in ", bucket.steps, " steps of ", 1 << i, " and more");
    }
    const double most = std::min(static_cast<double>(bucket.rows) * profile.model.top_k,
                                 static_cast<double>(bucket.steps) * profile.model.experts);
    if (!(bucket.distinct >= 0 && bucket.distinct <= most * (1 + 1e-9)))
      return Wrong(bucket.distinct, " different experts in steps that can use ", most);
    rows += bucket.rows;
  }
  if (rows != tokens) return Wrong("its steps have ", rows, " rows, but ", tokens, " were counted");
  return absl::OkStatus();
}

absl::Status CheckPairs(const ExpertProfile& profile, int64_t tokens) {
  if (profile.pair_tokens < 0 || profile.pair_tokens > tokens)
    return Wrong("pairs of ", profile.pair_tokens, " tokens out of ", tokens);
  const ModelIdentity& model = profile.model;
  const int64_t most = profile.pair_tokens * model.top_k;
  for (const ExpertPair& pair : profile.pairs) {
    const bool layer_exists =
        pair.moe_layer >= 0 && pair.moe_layer + int{pair.next_layer} < model.moe_layers();
    const bool experts_exist = pair.first >= 0 && pair.first < model.experts && pair.second >= 0 &&
                               pair.second < model.experts;
    if (!layer_exists || !experts_exist || pair.count <= 0 || pair.count > most)
      return Wrong("a pair of experts ", pair.first, " and ", pair.second, " of layer ",
                   pair.moe_layer, ", ", pair.count, " times");
  }
  return absl::OkStatus();
}

absl::Status CheckWindows(const ExpertProfile& profile, int64_t decoded) {
  if (std::ssize(profile.windows) > kMaxWindows)
    return Wrong(profile.windows.size(), " windows; at most ", kMaxWindows);
  if (profile.window_tokens < 0 || (profile.window_tokens == 0 && !profile.windows.empty()))
    return Wrong("windows of ", profile.window_tokens, " tokens");
  int64_t tokens = 0;
  for (const ProfileWindow& window : profile.windows) {
    if (window.tokens <= 0 || window.tokens > decoded)
      return Wrong("a window of ", window.tokens, " tokens");
    TANDEM_RETURN_IF_ERROR(CheckSums<int32_t>("a window", window.hits, profile.model.moe_layers(),
                                              profile.model.experts,
                                              window.tokens * profile.model.top_k));
    tokens += window.tokens;
  }
  if (tokens != decoded)
    return Wrong("its windows have ", tokens, " tokens, but ", decoded, " were decoded");
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckProfileModel(const ModelIdentity& model) {
  const bool sound = model.dense_layers >= 0 && model.layers > model.dense_layers &&
                     model.experts > 0 && model.experts <= 65536 && model.top_k > 0 &&
                     model.top_k <= std::min(model.experts, 1024) && model.hidden >= 0 &&
                     model.expert_intermediate >= 0 &&
                     int64_t{model.moe_layers()} * model.experts <= kMaxCells;
  return sound ? absl::OkStatus() : Wrong("no model is like this: ", Describe(model));
}

absl::Status CheckProfile(const ExpertProfile& profile) {
  TANDEM_RETURN_IF_ERROR(CheckProfileModel(profile.model));
  TANDEM_RETURN_IF_ERROR(CheckLabels(profile));
  int64_t decoded = 0;
  for (const LabelProfile& label : profile.labels)
    for (const auto& split : label.counts)
      decoded += split[static_cast<int>(Phase::kDecode)].tokens;
  const int64_t tokens = profile.tokens();
  TANDEM_RETURN_IF_ERROR(CheckDistinct(profile, tokens));
  TANDEM_RETURN_IF_ERROR(CheckSums<int64_t>("reuse distances", profile.reuse,
                                            profile.model.moe_layers(), kReuseBuckets,
                                            decoded * profile.model.top_k));
  TANDEM_RETURN_IF_ERROR(CheckPairs(profile, tokens));
  return CheckWindows(profile, decoded);
}

}  // namespace tandem
