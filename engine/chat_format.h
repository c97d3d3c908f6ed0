// Kimi's chat rendering: messages and tools -> prompt text and ids (kimi_k26: chat templates).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/status.h"
#include "engine/tokenizer.h"

namespace tandem {

struct ChatOptions {
  bool thinking = true;  // false: instant mode, an empty think pair is put before the answer
  bool preserve_thinking = false;  // keep the reasoning of finished turns
  bool add_generation_prompt = true;
};

// The prompt as template text and user text with different rights: special tokens are recognised
// only where the template put them.
struct RenderedChat {
  std::string text;  // everything, for people and for tests
  std::vector<int32_t> ids;
};

// `messages`: JSON array of OpenAI-style messages (role, content string or parts, name,
// reasoning_content, tool_calls, tool_call_id). `tools`: JSON array or null. Errors:
// INVALID_ARGUMENT naming the message index and field. `trust_special_text`: special-token text
// inside contents becomes tokens (for tests against the reference tokenizer; never for users).
absl::StatusOr<RenderedChat> RenderChat(const Tokenizer& tokenizer,
                                        const nlohmann::ordered_json& messages,
                                        const nlohmann::ordered_json& tools,
                                        const ChatOptions& options,
                                        bool trust_special_text = false);

// The TypeScript form of the tool declarations; empty when a schema has no such form (then compact
// JSON is used).
std::string ToolsToTypeScript(const nlohmann::ordered_json& sorted_tools);

}  // namespace tandem
