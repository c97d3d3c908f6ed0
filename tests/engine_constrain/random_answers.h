// Answers of a model that knows nothing: random logits through the real sampler, under a
// constraint.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "engine/sampler.h"
#include "engine/text/tokenizer.h"
#include "engine/token_constraint.h"

namespace tandem::testing {

struct RandomAnswer {
  std::vector<int32_t> ids;
  std::string text;     // of all tokens, control tokens spelled out, without the end token
  bool ended = false;   // else cut at max_tokens
  absl::Status status;  // of the constraint or the sampler
};

class RandomModel {
 public:
  // Logits are normal with deviation `spread`: 0 is uniform, larger is more determined.
  RandomModel(const Tokenizer& tokenizer, float spread, uint64_t seed);

  // Until an end token or `max_tokens`.
  RandomAnswer Answer(TokenConstraint& constraint, const std::vector<int32_t>& end_ids,
                      int max_tokens, const SamplingParams& params = {});

 private:
  const Tokenizer& tokenizer_;
  std::mt19937_64 random_;
  std::vector<float> pool_;  // numbers of which each step takes a window: far cheaper than new ones
  Sampler sampler_;
};

}  // namespace tandem::testing
