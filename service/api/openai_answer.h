// Answers as OpenAI's chat completions and completions: an object, or chunks of it.
//
// A stream has unnamed events, chunks and in the end "[DONE]"; or an error object and no "[DONE]".
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "service/api/answer_writer.h"

namespace tandem {

struct OpenAiAnswerArgs {
  std::string id;     // "chatcmpl-...", "cmpl-..."
  std::string model;  // as it is told
  int64_t created_s = 0;
  const Tokenizer& tokenizer;  // for log-probabilities; outlives the answer
  int32_t n = 1;               // answers to each prompt
  int32_t prompts = 1;
  bool logprobs = false;
  bool include_usage = false;
  std::vector<std::string> echo;  // OpenAiRequest::echo
};

std::unique_ptr<AnswerWriter> MakeChatCompletion(OpenAiAnswerArgs args);
std::unique_ptr<AnswerWriter> MakeCompletion(OpenAiAnswerArgs args);

}  // namespace tandem
