// Kimi's chat rendering: messages and tools -> prompt text and ids (kimi_k26: chat templates).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "core/status.h"
#include "engine/text/tokenizer.h"

namespace tandem {

// The conversation formats of the family: which tags, default system message and tool declaration.
enum class ChatStyle {
  kK26,         // K2.5, K2.6: thinking on or off, tools in TypeScript, images and videos
  kK2Thinking,  // always thinks, opens <think> itself
  kK2Instruct,  // no thinking
  kMoonlight,   // no thinking, no tools
};

// The style of a checkpoint by its outermost model_type ("kimi_k25", "kimi_k2", "deepseek_v3"; ""
// if there is only a tokenizer) and the control tokens it has. INVALID_ARGUMENT for other model
// types.
absl::StatusOr<ChatStyle> ChatStyleFor(const std::string& model_type, const Tokenizer& tokenizer);

struct ChatOptions {
  ChatStyle style = ChatStyle::kK26;
  // The next two have a meaning in kK26 only.
  bool thinking = true;  // false: instant mode, an empty think pair is put before the answer
  bool preserve_thinking = false;  // keep the reasoning of finished turns
  bool add_generation_prompt = true;
};

// The prompt as template text and user text with different rights: special tokens are recognised
// only where the template put them.
struct RenderedChat {
  std::string text;  // everything, for people and for tests
  std::vector<int32_t> ids;
  bool in_reasoning = false;    // the prompt ends inside <think>: the answer begins with reasoning
  int32_t next_call_index = 0;  // tool calls so far: the number of the answer's first one
};

// `messages`: JSON array of OpenAI-style messages (role, content string or parts, name,
// reasoning or reasoning_content, tool_calls, tool_call_id); with "partial": true the last message,
// of the assistant, is left open to be continued. Arguments of calls that are text stand in the
// prompt byte for byte; ids of calls are brought into the model's form (call_ids.h). `tools`: JSON
// array or null. Errors: INVALID_ARGUMENT naming the message index and field. `trust_special_text`:
// special-token text inside contents becomes tokens (for tests against the reference tokenizer;
// never for users).
absl::StatusOr<RenderedChat> RenderChat(const Tokenizer& tokenizer,
                                        const nlohmann::ordered_json& messages,
                                        const nlohmann::ordered_json& tools,
                                        const ChatOptions& options,
                                        bool trust_special_text = false);

// The TypeScript form of the tool declarations; empty when a schema has no such form (then compact
// JSON is used).
std::string ToolsToTypeScript(const nlohmann::ordered_json& sorted_tools);

}  // namespace tandem
