#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/log_softmax.h"

namespace tandem {
namespace {

constexpr float kGreedyBelow = 1e-5f;  // a temperature this low is greedy up to rounding

uint64_t Mix(uint64_t x) {  // finalizer of SplitMix64
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// The token at `uniform` of the weight, walking the tokens by id: first blocks, then inside one.
int32_t Draw(std::span<const float> weights, double uniform) {
  constexpr size_t kBlock = 1024;
  double left = uniform * Sum(weights);
  size_t begin = 0;
  for (; begin + kBlock < weights.size(); begin += kBlock) {
    const double block = Sum(weights.subspan(begin, kBlock));
    if (left < block) break;
    left -= block;
  }
  size_t last = weights.size();  // with weight; where rounding leaves a rest, the last one gets it
  for (size_t i = begin; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    last = i;
    if ((left -= weights[i]) < 0) break;
  }
  while (last == weights.size() || weights[last] == 0) --last;
  return static_cast<int32_t>(last);
}

}  // namespace

TokenHistory::TokenHistory(const SamplingParams& params, std::span<const int32_t> prompt_ids)
    : params_(params),
      active_(params.repetition_penalty != 1 || params.presence_penalty != 0 ||
              params.frequency_penalty != 0) {
  if (params.repetition_penalty == 1) return;
  for (int32_t id : prompt_ids) generated_counts_.try_emplace(id, 0);
}

void TokenHistory::AddGenerated(int32_t id) {
  if (active_) ++generated_counts_[id];
}

void TokenHistory::Penalize(std::span<float> logits) const {
  for (const auto& [id, count] : generated_counts_) {
    float& x = logits[id];
    x = x > 0 ? x / params_.repetition_penalty : x * params_.repetition_penalty;
    if (count > 0) x -= params_.presence_penalty + params_.frequency_penalty * count;
  }
}

double UniformAt(uint64_t seed, uint64_t step) {
  return static_cast<double>(Mix(Mix(seed) ^ Mix(~step)) >> 11) * 0x1p-53;
}

Sampler::Sampler(int32_t vocab) : adjusted_(vocab), weights_(vocab) {}

absl::StatusOr<GeneratedToken> Sampler::Sample(std::span<const float> raw,
                                               const SamplingParams& params,
                                               const TokenHistory& history, uint64_t seed,
                                               uint64_t step, std::span<const uint32_t> allowed) {
  TANDEM_CHECK(raw.size() == weights_.size(), "one logit per token of the vocabulary");
  TANDEM_CHECK(allowed.empty() || allowed.size() * 32 >= raw.size(), "one bit per token");
  TANDEM_ASSIGN_OR_RETURN(const LogitRange range, FiniteRange(raw));

  std::span<const float> logits = raw;
  const bool adjusts = history.active() || !params.logit_bias.empty();
  if (adjusts) {
    std::copy(raw.begin(), raw.end(), adjusted_.begin());
    for (const auto& [id, bias] : params.logit_bias) adjusted_[id] += bias;
    history.Penalize(adjusted_);
    logits = adjusted_;
  }

  if (!allowed.empty()) {
    Keep(logits, allowed);
    if (kept_.empty()) return absl::InternalError("the answer's constraint allows no token");
    logits = kept_;
  }

  GeneratedToken token;
  const bool changed = adjusts || !allowed.empty();
  token.id = Choose(logits, changed ? FiniteRange(logits) : range, params, UniformAt(seed, step));
  if (!allowed.empty()) token.id = kept_ids_[token.id];
  if (params.top_logprobs >= 0) {
    const double log_sum_exp = LogSumExp(raw, range.max);
    token.logprob = static_cast<float>(raw[token.id] - log_sum_exp);
    token.top = TopTokens(raw, log_sum_exp, params.top_logprobs);
  }
  return token;
}

void Sampler::Keep(std::span<const float> logits, std::span<const uint32_t> allowed) {
  kept_ids_.clear();
  kept_.clear();
  for (size_t word = 0; word * 32 < logits.size(); ++word) {
    for (uint32_t bits = allowed[word]; bits != 0; bits &= bits - 1) {
      const size_t id = word * 32 + std::countr_zero(bits);
      if (id >= logits.size()) break;
      kept_ids_.push_back(static_cast<int32_t>(id));
      kept_.push_back(logits[id]);
    }
  }
}

int32_t Sampler::Choose(std::span<const float> logits, const absl::StatusOr<LogitRange>& range,
                        const SamplingParams& params, double uniform) {
  // Penalties of extreme size can overflow a finite logit: then that token is certain.
  if (!range.ok()) return ArgMax(logits, *std::max_element(logits.begin(), logits.end()));
  if (params.temperature < kGreedyBelow) return ArgMax(logits, range->max);

  const std::span<float> weights(weights_.data(), logits.size());
  ExpWeights(logits, range->max, 1.0f / params.temperature, weights);
  const bool has_top_k = params.top_k > 0 && params.top_k < static_cast<int64_t>(logits.size());
  if (has_top_k || params.top_p < 1) cuts_.Reset(logits, *range);
  if (has_top_k) DropBehind(cuts_.AtCount(params.top_k), logits, weights);
  if (params.top_p < 1)
    DropBehind(cuts_.AtMass(weights, params.top_p * Sum(weights)), logits, weights);
  if (params.min_p > 0)
    DropBehind(Cut{range->max + std::log(params.min_p) * params.temperature}, logits, weights);
  return Draw(weights, uniform);
}

}  // namespace tandem
