// An answer as OpenAI's response object, and the numbered events that build it up:
//
//   response.created, response.in_progress, then for each output item response.output_item.added,
//   its parts and deltas, response.output_item.done, then response.completed (or .incomplete,
//   .failed).
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "service/api/answer_writer.h"

namespace tandem {

struct ResponsesAnswerArgs {
  std::string id;  // "resp_..."
  std::string model;
  int64_t created_s = 0;        // Unix time
  nlohmann::ordered_json echo;  // of the request
  bool seal_reasoning = false;
  // Told of an answer that came to its end: the response, and the assistant's message as
  // RenderChat() takes it. May be null.
  std::function<void(const nlohmann::ordered_json& response, nlohmann::ordered_json message)>
      on_end;
};

std::unique_ptr<AnswerWriter> MakeResponsesAnswer(ResponsesAnswerArgs args);

}  // namespace tandem
