#include "random_answers.h"

#include <algorithm>

namespace tandem::testing {

RandomModel::RandomModel(const Tokenizer& tokenizer, float spread, uint64_t seed)
    : tokenizer_(tokenizer),
      random_(seed),
      pool_(2 * static_cast<size_t>(tokenizer.vocab_size())),
      sampler_(tokenizer.vocab_size()) {
  std::normal_distribution<float> normal(0, 1);
  for (float& x : pool_) x = spread * normal(random_);
}

RandomAnswer RandomModel::Answer(TokenConstraint& constraint, const std::vector<int32_t>& end_ids,
                                 int max_tokens, const SamplingParams& params) {
  const int32_t vocab = tokenizer_.vocab_size();
  std::vector<uint32_t> mask(MaskWords(vocab));
  TokenHistory history(params, {});
  const uint64_t seed = random_();
  RandomAnswer answer;
  for (int step = 0; step < max_tokens; ++step) {
    const bool restricted = constraint.Next(mask);
    const std::span<const float> logits(pool_.data() + random_() % vocab, vocab);
    const auto token = sampler_.Sample(logits, params, history, seed, step,
                                       restricted ? mask : std::span<uint32_t>());
    if (answer.status = token.status(); !answer.status.ok()) return answer;
    if (answer.status = constraint.Accept(token->id); !answer.status.ok()) return answer;
    history.AddGenerated(token->id);
    answer.ids.push_back(token->id);
    if (std::ranges::find(end_ids, token->id) != end_ids.end()) {
      answer.ended = true;
      return answer;
    }
    answer.text += tokenizer_.DecodeBytes({&token->id, 1}, /*skip_special=*/false);
  }
  return answer;
}

}  // namespace tandem::testing
