#include "service/api/responses_answer.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/error_status.h"
#include "service/api/random_id.h"
#include "service/api/sealed_reasoning.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kIdLength = 24;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

class ResponsesAnswer final : public AnswerWriter {
 public:
  explicit ResponsesAnswer(ResponsesAnswerArgs args) : args_(std::move(args)) {}

  std::string Begin(int32_t prompt_tokens) override;
  std::string Push(const ChatUpdate& update) override;
  HttpResponse Whole() override { return {.body = Dump(response_)}; }
  HttpResponse Error(const absl::Status& error) const override { return ToOpenAiError(error); }

 private:
  enum class Kind { kNone, kReasoning, kMessage, kCall };

  void Event(const std::string& type, Json data);
  void PartEvent(const std::string& type, const char* field, Json value);
  void Take(const AnswerPiece& piece);
  void Append(Kind kind, const std::string& text);
  void OpenCall(const AnswerPiece& piece);
  void Open(Kind kind, Json item);
  void Close(const char* status);
  void CloseReasoning();
  void CloseMessage();
  void CloseCall();
  void Finish(const ChatUpdate& last);
  void Fail(const absl::Status& failure);
  void SetUsage(const ChatUsage& usage);
  Json AssistantMessage() const;

  const ResponsesAnswerArgs args_;
  Json response_;
  Kind open_ = Kind::kNone;
  Json item_;            // the open one
  std::string content_;  // its text or arguments
  std::string reasoning_, text_;
  Json calls_ = Json::array();
  int64_t sequence_number_ = 0;
  std::string events_;  // not yet told
};

void ResponsesAnswer::Event(const std::string& type, Json data) {
  Json event = {{"type", type}, {"sequence_number", sequence_number_++}};
  event.update(data);
  events_ += EventFrame(type, Dump(event));
}

// An event of the open item; of a call's arguments, which are no part of its content, too.
void ResponsesAnswer::PartEvent(const std::string& type, const char* field, Json value) {
  Json data = {{"item_id", item_["id"]}, {"output_index", response_["output"].size()}};
  if (open_ != Kind::kCall) data["content_index"] = 0;
  data[field] = std::move(value);
  if (type.starts_with("response.output_text")) data["logprobs"] = Json::array();
  if (type == "response.function_call_arguments.done") data["name"] = item_["name"];
  Event(type, std::move(data));
}

std::string ResponsesAnswer::Begin(int32_t) {
  response_ = {
      {"id", args_.id},          {"object", "response"},          {"created_at", args_.created_s},
      {"completed_at", nullptr}, {"status", "in_progress"},       {"background", false},
      {"error", nullptr},        {"incomplete_details", nullptr}, {"model", args_.model},
      {"output", Json::array()}};
  response_.update(args_.echo);
  response_["usage"] = nullptr;
  Event("response.created", {{"response", response_}});
  Event("response.in_progress", {{"response", response_}});
  return std::exchange(events_, {});
}

std::string ResponsesAnswer::Push(const ChatUpdate& update) {
  for (const AnswerPiece& piece : update.pieces) Take(piece);
  if (update.finish) Finish(update);
  return std::exchange(events_, {});
}

void ResponsesAnswer::Take(const AnswerPiece& piece) {
  switch (piece.kind) {
    case AnswerPiece::Kind::kReasoning:
      return Append(Kind::kReasoning, piece.text);
    case AnswerPiece::Kind::kText:
      return Append(Kind::kMessage, piece.text);
    case AnswerPiece::Kind::kToolCall:
      return OpenCall(piece);
    case AnswerPiece::Kind::kToolArguments:
      content_ += piece.text;
      return PartEvent("response.function_call_arguments.delta", "delta", piece.text);
  }
}

void ResponsesAnswer::Append(Kind kind, const std::string& text) {
  const bool reasoning = kind == Kind::kReasoning;
  if (text.empty()) return;
  if (open_ != kind && reasoning) {
    Open(kind, {{"id", absl::StrCat("rs_", RandomId(kIdLength))},
                {"type", "reasoning"},
                {"status", "in_progress"},
                {"summary", Json::array()},
                {"content", Json::array()}});
    PartEvent("response.content_part.added", "part", {{"type", "reasoning_text"}, {"text", ""}});
  } else if (open_ != kind) {
    Open(kind, {{"id", absl::StrCat("msg_", RandomId(kIdLength))},
                {"type", "message"},
                {"status", "in_progress"},
                {"role", "assistant"},
                {"content", Json::array()}});
    PartEvent("response.content_part.added", "part",
              {{"type", "output_text"},
               {"text", ""},
               {"annotations", Json::array()},
               {"logprobs", Json::array()}});
  }
  content_ += text;
  (reasoning ? reasoning_ : text_) += text;
  PartEvent(reasoning ? "response.reasoning_text.delta" : "response.output_text.delta", "delta",
            text);
}

void ResponsesAnswer::OpenCall(const AnswerPiece& piece) {
  Open(Kind::kCall, {{"id", absl::StrCat("fc_", RandomId(kIdLength))},
                     {"type", "function_call"},
                     {"status", "in_progress"},
                     {"call_id", piece.call_id},
                     {"name", piece.call_name},
                     {"arguments", ""}});
}

void ResponsesAnswer::Open(Kind kind, Json item) {
  Close("completed");
  open_ = kind;
  item_ = std::move(item);
  content_.clear();
  Event("response.output_item.added",
        {{"output_index", response_["output"].size()}, {"item", item_}});
}

void ResponsesAnswer::CloseReasoning() {
  const Json part = {{"type", "reasoning_text"}, {"text", content_}};
  PartEvent("response.reasoning_text.done", "text", content_);
  PartEvent("response.content_part.done", "part", part);
  item_["content"].push_back(part);
  if (args_.seal_reasoning) item_["encrypted_content"] = SealReasoning(content_);
}

void ResponsesAnswer::CloseMessage() {
  const Json part = {{"type", "output_text"},
                     {"text", content_},
                     {"annotations", Json::array()},
                     {"logprobs", Json::array()}};
  PartEvent("response.output_text.done", "text", content_);
  PartEvent("response.content_part.done", "part", part);
  item_["content"].push_back(part);
}

void ResponsesAnswer::CloseCall() {
  PartEvent("response.function_call_arguments.done", "arguments", content_);
  item_["arguments"] = content_;
  calls_.push_back({{"id", item_["call_id"]},
                    {"type", "function"},
                    {"function", {{"name", item_["name"]}, {"arguments", content_}}}});
}

void ResponsesAnswer::Close(const char* status) {
  if (open_ == Kind::kNone) return;
  if (open_ == Kind::kReasoning) CloseReasoning();
  if (open_ == Kind::kMessage) CloseMessage();
  if (open_ == Kind::kCall) CloseCall();
  open_ = Kind::kNone;
  item_["status"] = status;
  Event("response.output_item.done",
        {{"output_index", response_["output"].size()}, {"item", item_}});
  response_["output"].push_back(std::move(item_));
}

void ResponsesAnswer::SetUsage(const ChatUsage& chat) {
  const Usage& usage = chat.usage;
  response_["usage"] = {
      {"input_tokens", usage.prompt_tokens},
      {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"cache_write_tokens", 0}}},
      {"output_tokens", usage.completion_tokens},
      {"output_tokens_details", {{"reasoning_tokens", chat.reasoning_tokens}}},
      {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

void ResponsesAnswer::Fail(const absl::Status& failure) {
  response_["status"] = "failed";
  response_["error"] = {{"code", "server_error"}, {"message", PublicMessage(failure)}};
  Event("response.failed", {{"response", response_}});
}

Json ResponsesAnswer::AssistantMessage() const {
  Json message = {{"role", "assistant"}, {"content", text_.empty() ? Json() : Json(text_)}};
  if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
  if (!calls_.empty()) message["tool_calls"] = calls_;
  return message;
}

void ResponsesAnswer::Finish(const ChatUpdate& last) {
  SetUsage(last.usage);
  const absl::Status failure = FailureOf(last);
  if (!failure.ok()) return Fail(failure);
  const bool cut_off = last.finish == ChatFinish::kLength;
  Close(cut_off ? "incomplete" : "completed");
  response_["status"] = cut_off ? "incomplete" : "completed";
  if (cut_off) response_["incomplete_details"] = {{"reason", "max_output_tokens"}};
  response_["completed_at"] = cut_off ? Json() : Json(NowSeconds());
  if (args_.on_end) args_.on_end(response_, AssistantMessage());
  Event(cut_off ? "response.incomplete" : "response.completed", {{"response", response_}});
}

}  // namespace

std::unique_ptr<AnswerWriter> MakeResponsesAnswer(ResponsesAnswerArgs args) {
  return std::make_unique<ResponsesAnswer>(std::move(args));
}

}  // namespace tandem
