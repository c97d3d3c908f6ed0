// Logits -> token.
//
// In this order: logit bias; repetition, presence and frequency penalty; temperature; top-k; top-p;
// min-p; a draw. Every filter is a cut in one order of the tokens (larger logit first, lower id
// first among equals), so the strictest cut wins and nothing has to be sorted as a whole:
//   top_k  keeps the k first tokens;
//   top_p  keeps, of those, the shortest run whose probabilities reach top_p of their sum, the
//          token that crosses it included;
//   min_p  drops tokens less likely than min_p times the most likely one.
// A constraint's mask comes before the filters: they see the allowed tokens alone.
// The draw walks the kept tokens by id. Its random number is a hash of (seed, step): neither other
// requests nor earlier draws have a part in it.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "engine/log_softmax.h"
#include "engine/sampler_cut.h"
#include "engine/sampling.h"

namespace tandem {

// Which tokens a request has seen: what the penalties need. Costs nothing when they are off.
class TokenHistory {
 public:
  // `params` must outlive the history.
  TokenHistory(const SamplingParams& params, std::span<const int32_t> prompt_ids);
  void AddGenerated(int32_t id);

  bool active() const { return active_; }
  // Applies the penalties in place.
  //   repetition (prompt and generated): x > 0 ? x / r : x * r
  //   presence and frequency (generated): x -= presence + frequency * count
  void Penalize(std::span<float> logits) const;

 private:
  const SamplingParams& params_;
  bool active_;
  std::unordered_map<int32_t, int32_t> generated_counts_;  // 0: only in the prompt
};

// Uniform in [0, 1), 53 bits: a pure function of its arguments.
double UniformAt(uint64_t seed, uint64_t step);

// Owns scratch memory of one row: one object per thread.
class Sampler {
 public:
  explicit Sampler(int32_t vocab);

  // `seed` is used even if params.seed is not set: the caller has chosen one. `allowed`: the tokens
  // that may be drawn (engine/token_constraint.h); empty: all. Errors: INTERNAL for logits that are
  // NaN or infinite, and if nothing is allowed. REQUIRES: Validate(params) was OK.
  absl::StatusOr<GeneratedToken> Sample(std::span<const float> logits,  // [vocab]
                                        const SamplingParams& params, const TokenHistory& history,
                                        uint64_t seed, uint64_t step,
                                        std::span<const uint32_t> allowed = {});  // [MaskWords]

 private:
  // Index of the chosen logit.
  int32_t Choose(std::span<const float> logits, const absl::StatusOr<LogitRange>& range,
                 const SamplingParams& params, double uniform);
  // Into kept_ids_ and kept_.
  void Keep(std::span<const float> logits, std::span<const uint32_t> allowed);

  std::vector<float> adjusted_;    // logits after bias and penalties
  std::vector<int32_t> kept_ids_;  // of the allowed tokens, ascending
  std::vector<float> kept_;        // their logits
  CutFinder cuts_;
  std::vector<float> weights_;  // exp((logit - max) / temperature)
};

}  // namespace tandem
