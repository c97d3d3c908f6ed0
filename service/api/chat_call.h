// A request for an answer, whatever API it came by, and the answer as it comes.
//
//   OpenAI, Anthropic, Responses, gRPC  ->  ChatCall  ->  chat_run.h  ->  engine
//        their own events             <-  ChatUpdate <-
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/constrain/answer_rules.h"
#include "engine/engine.h"
#include "engine/text/chat_format.h"
#include "engine/text/output_parser.h"

namespace tandem {

struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;  // kNamed
};

// A conversation to be answered.
struct ChatPrompt {
  nlohmann::ordered_json messages;         // OpenAI's form, as RenderChat() takes them
  nlohmann::ordered_json tools = nullptr;  // OpenAI's form; null: none
  ChatOptions options;                     // style is filled in by the run
};

// A text to be continued.
struct BarePrompt {
  std::vector<int32_t> ids;
};

struct ChatCall {
  std::variant<ChatPrompt, BarePrompt> prompt;
  // Of a ChatPrompt:
  ToolChoice tool_choice;
  bool parallel_calls = true;
  TextRule text_rule = TextRule::kFree;
  nlohmann::ordered_json text_schema;
  int32_t max_reasoning_tokens = 0;  // 0: no limit of its own

  // nullopt: the server's default for a chat that thinks, or does not.
  std::optional<float> temperature, top_p;
  SamplingParams sampling;        // all but those two
  int32_t max_tokens = 0;         // reasoning included; 0: as many as the context allows
  std::vector<std::string> stop;  // in the text only, neither in reasoning nor in calls
  std::vector<int32_t> stop_ids;
  bool ignore_eos = false;
  bool skip_special = true;  // bare prompts
  int32_t n = 1;             // answers; with a seed each has its own, counted up
  std::string cache_salt;    // on top of the caller\'s own
};

enum class ChatFinish { kStop, kLength, kToolCalls, kCancelled, kDeadline, kError };

struct ChatUsage {
  Usage usage;  // of the engine
  int32_t reasoning_tokens = 0;
};

// What a token is part of.
enum class TokenPart { kReasoning, kText, kCall, kMarker };  // kMarker: what parts them, end tokens

struct ChatToken {
  GeneratedToken token;
  TokenPart part = TokenPart::kText;
};

// What is new in one of the answers.
struct ChatUpdate {
  int32_t choice = 0;
  std::vector<AnswerPiece> pieces;  // of a bare prompt: kText
  std::vector<ChatToken> tokens;    // all of them; a token may come before its text
  // The last update of this choice:
  std::optional<ChatFinish> finish;
  std::string stop_string;  // that ended it, if one did
  absl::Status status;      // not OK with kError
  ChatUsage usage;
  std::string divergence;  // in words, if the prompt left a cached one within a page
};

}  // namespace tandem
