#include "service/api/anthropic_answer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/json_end.h"
#include "service/access/gate.h"
#include "service/api/error_status.h"
#include "service/api/sealed_reasoning.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A full server is not the client's doing; its key's and its task's limits are.
int AnthropicStatusOf(const absl::Status& error) {
  const std::string code = ErrorCodeOf(error);
  const bool own_limit = code == "rate_limit_exceeded" || code == "task_budget_exceeded";
  const int status = HttpStatusOf(error);
  return (status == 429 && !own_limit) || status == 503 ? 529 : status;
}

const char* TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 504:
      return "timeout_error";
    case 529:
      return "overloaded_error";
    default:
      return status < 499 ? "invalid_request_error" : "api_error";
  }
}

constexpr int64_t kMaxArgumentDepth = 512;

int64_t DepthOf(const std::string& json) {
  JsonEnd brackets;
  int64_t deepest = 0;
  for (const char c : json) {
    brackets.Push(c);
    deepest = std::max(deepest, brackets.depth());
  }
  return deepest;
}

Json ErrorJson(const absl::Status& error) {
  return {
      {"type", "error"},
      {"error", {{"type", TypeOf(AnthropicStatusOf(error))}, {"message", PublicMessage(error)}}}};
}

class AnthropicAnswer final : public AnswerWriter {
 public:
  explicit AnthropicAnswer(AnthropicAnswerArgs args) : args_(std::move(args)) {}

  std::string Begin(int32_t prompt_tokens) override;
  std::string Push(const ChatUpdate& update) override;
  HttpResponse Whole() override { return {.body = Dump(message_)}; }
  HttpResponse Error(const absl::Status& error) const override { return ToAnthropicError(error); }

 private:
  void Event(const char* type, Json data);
  void Delta(const char* type, const char* field, const std::string& text);
  void Take(const AnswerPiece& piece);
  void Append(const char* type, const std::string& text);
  void Open(Json block);
  void Close();
  void CloseThinking();
  void CloseCall();
  void Finish(const ChatUpdate& last);
  Json StopReason(const ChatUpdate& last) const;
  bool IsOpen(const char* type) const { return is_open_ && block_["type"] == type; }

  const AnthropicAnswerArgs args_;
  Json message_;
  Json block_;  // the open one
  bool is_open_ = false;
  std::string content_;  // of the open block: text, thinking or arguments
  std::string events_;   // not yet told
};

void AnthropicAnswer::Event(const char* type, Json data) {
  Json event = {{"type", type}};
  event.update(data);
  events_ += EventFrame(type, Dump(event));
}

void AnthropicAnswer::Delta(const char* type, const char* field, const std::string& text) {
  Event("content_block_delta",
        {{"index", message_["content"].size()}, {"delta", {{"type", type}, {field, text}}}});
}

std::string AnthropicAnswer::Begin(int32_t prompt_tokens) {
  message_ = {{"id", args_.id},
              {"type", "message"},
              {"role", "assistant"},
              {"model", args_.model},
              {"content", Json::array()},
              {"stop_reason", nullptr},
              {"stop_sequence", nullptr},
              {"usage",
               {{"input_tokens", prompt_tokens},  // what of it was cached is known in the end
                {"cache_creation_input_tokens", 0},
                {"cache_read_input_tokens", 0},
                {"output_tokens", 0}}}};
  Event("message_start", {{"message", message_}});
  return std::exchange(events_, {});
}

std::string AnthropicAnswer::Push(const ChatUpdate& update) {
  for (const AnswerPiece& piece : update.pieces) Take(piece);
  if (update.finish) Finish(update);
  return std::exchange(events_, {});
}

void AnthropicAnswer::Take(const AnswerPiece& piece) {
  switch (piece.kind) {
    case AnswerPiece::Kind::kReasoning:
      return Append("thinking", piece.text);
    case AnswerPiece::Kind::kText:
      return Append("text", piece.text);
    case AnswerPiece::Kind::kToolCall:
      return Open({{"type", "tool_use"},
                   {"id", MakeToolUseId(piece.call_id)},
                   {"name", piece.call_name},
                   {"input", Json::object()}});
    case AnswerPiece::Kind::kToolArguments:
      content_ += piece.text;
      return Delta("input_json_delta", "partial_json", piece.text);
  }
}

void AnthropicAnswer::Append(const char* type, const std::string& text) {
  const bool thinking = std::string_view(type) == "thinking";
  if (text.empty()) return;
  if (!IsOpen(type)) {
    Json block = {{"type", type}, {type, ""}};
    if (thinking) block["signature"] = "";
    Open(std::move(block));
  }
  content_ += text;
  if (thinking && args_.omit_thinking) return;
  Delta(thinking ? "thinking_delta" : "text_delta", type, text);
}

void AnthropicAnswer::Open(Json block) {
  Close();
  block_ = std::move(block);
  is_open_ = true;
  content_.clear();
  Event("content_block_start", {{"index", message_["content"].size()}, {"content_block", block_}});
}

void AnthropicAnswer::CloseThinking() {
  const std::string signature = args_.omit_thinking ? SealReasoning(content_) : kUnsealed;
  Delta("signature_delta", "signature", signature);
  block_["signature"] = signature;
  if (!args_.omit_thinking) block_["thinking"] = content_;
}

// A call that was cut off, by max_tokens say, has no object yet: it is told with an empty one. So
// is one nested so deeply that reading it would take more stack than there is.
void AnthropicAnswer::CloseCall() {
  if (DepthOf(content_) > kMaxArgumentDepth) return;
  Json input = Json::parse(content_, nullptr, false);
  if (!input.is_object()) return;
  block_["input"] = std::move(input);
  args_.memory->Remember(args_.caller, block_["id"], content_);
}

void AnthropicAnswer::Close() {
  if (!is_open_) return;
  if (IsOpen("text")) block_["text"] = content_;
  if (IsOpen("thinking")) CloseThinking();
  if (IsOpen("tool_use")) CloseCall();
  Event("content_block_stop", {{"index", message_["content"].size()}});
  message_["content"].push_back(std::move(block_));
  is_open_ = false;
}

Json AnthropicAnswer::StopReason(const ChatUpdate& last) const {
  switch (*last.finish) {
    case ChatFinish::kLength:
      return last.usage.usage.completion_tokens < args_.max_tokens ? "model_context_window_exceeded"
                                                                   : "max_tokens";
    case ChatFinish::kToolCalls:
      return "tool_use";
    default:
      return last.stop_string.empty() ? "end_turn" : "stop_sequence";
  }
}

void AnthropicAnswer::Finish(const ChatUpdate& last) {
  const absl::Status failure = FailureOf(last);
  if (!failure.ok()) {
    events_ += EventFrame("error", Dump(ErrorJson(failure)));
    return;
  }
  Close();
  const Usage& usage = last.usage.usage;
  message_["stop_reason"] = StopReason(last);
  if (!last.stop_string.empty()) message_["stop_sequence"] = last.stop_string;
  message_["usage"] = {
      {"input_tokens", usage.prompt_tokens - usage.cached_tokens},
      {"cache_creation_input_tokens", 0},
      {"cache_read_input_tokens", usage.cached_tokens},
      {"output_tokens", usage.completion_tokens},
      {"output_tokens_details", {{"thinking_tokens", last.usage.reasoning_tokens}}}};
  Event("message_delta",
        {{"delta",
          {{"stop_reason", message_["stop_reason"]}, {"stop_sequence", message_["stop_sequence"]}}},
         {"usage", message_["usage"]}});
  Event("message_stop", Json::object());
}

}  // namespace

std::unique_ptr<AnswerWriter> MakeAnthropicAnswer(AnthropicAnswerArgs args) {
  return std::make_unique<AnthropicAnswer>(std::move(args));
}

HttpResponse ToAnthropicError(const absl::Status& error) {
  HttpResponse response = {.status = AnthropicStatusOf(error), .body = Dump(ErrorJson(error))};
  if (const int seconds = RetryAfterSeconds(error); seconds > 0)
    response.headers.emplace_back("Retry-After", std::to_string(seconds));
  return response;
}

}  // namespace tandem
