// A prompt as it grows: control tokens that the template wrote, and text between them. All text
// between two control tokens is encoded as one, whoever wrote it, without the right to become a
// control token: this keeps ordinary prompts identical to encoding the rendered text, and foreign
// text harmless.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "engine/text/chat_format.h"
#include "engine/text/tokenizer.h"

namespace tandem {

class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Control(std::string_view token);  // "<|im_end|>"
  void Text(std::string_view text);

  // Fails if the tokenizer lacks a control token that was used. Call once.
  absl::StatusOr<RenderedChat> Finish(bool trust_special_text);

 private:
  void EncodePending();

  const Tokenizer& tokenizer_;
  RenderedChat rendered_;
  size_t pending_begin_ = 0;  // in rendered_.text: text that has no ids yet
  absl::Status missing_;      // the first control token that the tokenizer lacks
};

}  // namespace tandem
