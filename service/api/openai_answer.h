// Answers as OpenAI's chat completions and completions: an object, or chunks of it.
//
// A stream has unnamed events, chunks and in the end "[DONE]"; or an error object and no "[DONE]".
#pragma once

#include <memory>
#include <string>

#include "engine/text/tokenizer.h"
#include "service/api/answer_writer.h"
#include "service/api/openai_request.h"

namespace tandem {

enum class OpenAiApi { kChat, kText };

// The answer to `request`, with an id and a time of its own. `model` as it is told. `tokenizer`,
// for log-probabilities, outlives the answer.
std::unique_ptr<AnswerWriter> MakeOpenAiAnswer(OpenAiApi api, const OpenAiRequest& request,
                                               const std::string& model,
                                               const Tokenizer& tokenizer);

}  // namespace tandem
