#include "service/api/openai_logprobs.h"

#include <algorithm>
#include <string>
#include <utility>

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr float kLeast = -9999;  // stands for a probability of 0, which JSON has no logarithm of

std::string TextOf(const Tokenizer& tokenizer, int32_t id) {
  return tokenizer.DecodeBytes({&id, 1}, /*skip_special=*/false);
}

Json Entry(const Tokenizer& tokenizer, int32_t id, float logprob) {
  const std::string text = TextOf(tokenizer, id);
  Json bytes = Json::array();
  for (const unsigned char byte : text) bytes.push_back(byte);
  return {{"token", text}, {"logprob", std::max(logprob, kLeast)}, {"bytes", std::move(bytes)}};
}

int64_t CodePoints(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; });
}

}  // namespace

Json ChatLogprob(const Tokenizer& tokenizer, const GeneratedToken& token) {
  Json entry = Entry(tokenizer, token.id, token.logprob);
  Json top = Json::array();
  for (const TopLogprob& other : token.top)
    top.push_back(Entry(tokenizer, other.id, other.logprob));
  entry["top_logprobs"] = std::move(top);
  return entry;
}

void CompletionLogprobs::Add(const Tokenizer& tokenizer, const GeneratedToken& token) {
  const std::string text = TextOf(tokenizer, token.id);
  tokens_.push_back(text);
  logprobs_.push_back(std::max(token.logprob, kLeast));
  Json top = Json::object();
  for (const TopLogprob& other : token.top)
    top[TextOf(tokenizer, other.id)] = std::max(other.logprob, kLeast);
  top_.push_back(std::move(top));
  offsets_.push_back(offset_);
  offset_ += CodePoints(text);
}

Json CompletionLogprobs::Take() {
  return {{"tokens", std::exchange(tokens_, Json::array())},
          {"token_logprobs", std::exchange(logprobs_, Json::array())},
          {"top_logprobs", std::exchange(top_, Json::array())},
          {"text_offset", std::exchange(offsets_, Json::array())}};
}

}  // namespace tandem
