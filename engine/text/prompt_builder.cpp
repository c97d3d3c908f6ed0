#include "engine/text/prompt_builder.h"

#include <utility>

namespace tandem {

void PromptBuilder::Control(std::string_view token) {
  EncodePending();
  const std::optional<int32_t> id = tokenizer_.SpecialId(token);
  if (!id && missing_.ok()) {
    missing_ = absl::FailedPreconditionError("the tokenizer has no control token " +
                                             std::string(token) + ", which this chat format needs");
  }
  rendered_.text += token;
  pending_begin_ = rendered_.text.size();
  rendered_.ids.push_back(id.value_or(-1));
}

void PromptBuilder::Text(std::string_view text) { rendered_.text += text; }

absl::StatusOr<RenderedChat> PromptBuilder::Finish(bool trust_special_text) {
  TANDEM_RETURN_IF_ERROR(missing_);
  if (trust_special_text) {
    rendered_.ids = tokenizer_.Encode(rendered_.text, /*parse_special=*/true);
  } else {
    EncodePending();
  }
  return std::move(rendered_);
}

void PromptBuilder::EncodePending() {
  const std::string_view pending = std::string_view(rendered_.text).substr(pending_begin_);
  const std::vector<int32_t> ids = tokenizer_.Encode(pending, /*parse_special=*/false);
  rendered_.ids.insert(rendered_.ids.end(), ids.begin(), ids.end());
  pending_begin_ = rendered_.text.size();
}

}  // namespace tandem
