// Log-probabilities of tokens in the forms of OpenAI's two APIs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "engine/sampling.h"
#include "engine/text/tokenizer.h"

namespace tandem {

// {"token", "logprob", "bytes", "top_logprobs": [{"token", "logprob", "bytes"}]}. A token may be
// part of a character: "bytes" says which.
nlohmann::ordered_json ChatLogprob(const Tokenizer& tokenizer, const GeneratedToken& token);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, collected; offsets are in code
// points and go on after Take().
class CompletionLogprobs {
 public:
  void Add(const Tokenizer& tokenizer, const GeneratedToken& token);
  bool empty() const { return tokens_.empty(); }
  nlohmann::ordered_json Take();

 private:
  using Json = nlohmann::ordered_json;
  Json tokens_ = Json::array(), logprobs_ = Json::array();
  Json top_ = Json::array(), offsets_ = Json::array();
  int64_t offset_ = 0;
};

}  // namespace tandem
