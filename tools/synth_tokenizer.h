// The tokenizer files of a synthetic checkpoint: a real tokenizer cut to size, or an invented one.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace tandem {

// Files of a tokenizer folder by name and content.
struct TokenizerFiles {
  std::string model;          // tiktoken.model
  std::string config;         // tokenizer_config.json
  std::string chat_template;  // chat_template.jinja, empty if there is none
};

// The first vocab - 256 tokens of the vocabulary in `dir` and its control tokens, moved behind
// them. Merging needs lower ranks only, so the cut vocabulary encodes any text. Errors name the
// file, what was expected and found.
absl::StatusOr<TokenizerFiles> CutTokenizer(const std::string& dir, int32_t vocab);

// 256 bytes and vocab - 512 invented words and word parts, each reachable by merges; Kimi's control
// tokens at their usual places among the last 256 ids. REQUIRES: vocab >= 512.
TokenizerFiles InventTokenizer(int32_t vocab, uint64_t seed);

}  // namespace tandem
