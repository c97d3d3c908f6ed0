// Bodies of OpenAI's POST /v1/chat/completions and /v1/completions as ChatCalls (kimi_k26: chat
// request fields).
//
// docs/api.md lists every field: honoured, without effect, or refused. Pure functions, any
// thread; errors: INVALID_ARGUMENT beginning with the field.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "engine/text/tokenizer.h"
#include "service/api/chat_call.h"
#include "service/limits.h"

namespace tandem {

struct OpenAiRequest {
  // One; of a completion with a list of prompts: one for each of them, all with the same `n`.
  std::vector<ChatCall> calls;
  std::string model;  // as the client wrote it
  bool stream = false;
  bool include_usage = false;     // a chunk of its own at a stream's end
  std::vector<std::string> echo;  // of a completion: what stands before its text, for each prompt
};

struct OpenAiParseArgs {
  const Limits& limits;
  const Tokenizer& tokenizer;  // of prompts that are text, and to check ids against
  bool thinking_default = true;
};

absl::StatusOr<OpenAiRequest> ParseChatCompletion(const nlohmann::ordered_json& body,
                                                  const OpenAiParseArgs& args);
absl::StatusOr<OpenAiRequest> ParseCompletion(const nlohmann::ordered_json& body,
                                              const OpenAiParseArgs& args);

// The part of a chat completion that makes its prompt: messages, tools and how they are rendered.
// For routes that only count. The other fields are left alone.
absl::StatusOr<ChatPrompt> ParseChatPrompt(const nlohmann::ordered_json& body,
                                           const OpenAiParseArgs& args);

}  // namespace tandem
