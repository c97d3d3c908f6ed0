#include "service/api/token_parts.h"

namespace tandem {

TokenParts::TokenParts(const Tokenizer& tokenizer, bool in_reasoning)
    : tokenizer_(tokenizer),
      think_begin_(tokenizer.SpecialId("<think>")),
      think_end_(tokenizer.SpecialId("</think>")),
      section_begin_(tokenizer.SpecialId("<|tool_calls_section_begin|>")),
      call_begin_(tokenizer.SpecialId("<|tool_call_begin|>")),
      part_(in_reasoning ? TokenPart::kReasoning : TokenPart::kText) {}

TokenPart TokenParts::PartOf(int32_t id) {
  if (id == section_begin_ || id == call_begin_) {
    part_ = TokenPart::kCall;
    return TokenPart::kMarker;
  }
  if (id == think_end_ && part_ == TokenPart::kReasoning) {
    part_ = TokenPart::kText;
    return TokenPart::kMarker;
  }
  if (id == think_begin_ && part_ == TokenPart::kText && !any_text_) {
    part_ = TokenPart::kReasoning;
    return TokenPart::kMarker;
  }
  if (tokenizer_.IsSpecial(id)) return TokenPart::kMarker;
  any_text_ |= part_ == TokenPart::kText;
  reasoning_tokens_ += part_ == TokenPart::kReasoning;
  return part_;
}

}  // namespace tandem
