// Which part of an answer each of its tokens belongs to.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/text/tokenizer.h"
#include "service/api/chat_call.h"

namespace tandem {

// One object per answer; told of its tokens in order.
class TokenParts {
 public:
  // `in_reasoning`: the answer begins inside <think>.
  TokenParts(const Tokenizer& tokenizer, bool in_reasoning);

  TokenPart PartOf(int32_t id);
  int32_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  const Tokenizer& tokenizer_;
  std::optional<int32_t> think_begin_, think_end_, section_begin_, call_begin_;
  TokenPart part_;
  bool any_text_ = false;
  int32_t reasoning_tokens_ = 0;
};

}  // namespace tandem
