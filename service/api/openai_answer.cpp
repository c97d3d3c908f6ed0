#include "service/api/openai_answer.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/api/error_status.h"
#include "service/api/openai_logprobs.h"
#include "service/api/random_id.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDone[] = "data: [DONE]\n\n";
constexpr int kIdLength = 24;

struct OpenAiAnswerArgs {
  std::string id;
  std::string model;
  int64_t created_s = 0;
  const Tokenizer& tokenizer;
  int32_t n = 1;  // answers to each prompt
  int32_t prompts = 1;
  bool logprobs = false;
  bool include_usage = false;
  std::vector<std::string> echo;  // OpenAiRequest::echo
};

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char* Name(ChatFinish finish) {
  if (finish == ChatFinish::kLength) return "length";
  return finish == ChatFinish::kToolCalls ? "tool_calls" : "stop";
}

struct UsageSum {
  int64_t prompt = 0, cached = 0, completion = 0, reasoning = 0;
  double queue_s = 0, prefill_s = 0, decode_s = 0;  // of the longest

  void Add(const ChatUsage& more, bool with_prompt) {
    if (with_prompt) {
      prompt += more.usage.prompt_tokens;
      cached += more.usage.cached_tokens;
    }
    completion += more.usage.completion_tokens;
    reasoning += more.reasoning_tokens;
    queue_s = std::max(queue_s, more.usage.queue_s);
    prefill_s = std::max(prefill_s, more.usage.prefill_s);
    decode_s = std::max(decode_s, more.usage.decode_s);
  }
  // `cached_tokens` twice: Moonshot's place and OpenAI's.
  Json ToJson() const {
    return {{"prompt_tokens", prompt},
            {"completion_tokens", completion},
            {"total_tokens", prompt + completion},
            {"cached_tokens", cached},
            {"prompt_tokens_details", {{"cached_tokens", cached}}},
            {"completion_tokens_details", {{"reasoning_tokens", reasoning}}}};
  }
  Json TimingsJson() const {
    return {{"queue_s", queue_s}, {"prefill_s", prefill_s}, {"decode_s", decode_s}};
  }
};

// What both APIs have in common: the frame around choices, usage, and the end.
class OpenAiAnswer : public AnswerWriter {
 public:
  OpenAiAnswer(OpenAiAnswerArgs args, const char* object, const char* chunk_object)
      : args_(std::move(args)),
        object_(object),
        chunk_object_(chunk_object),
        choices_(args_.n * args_.prompts, Json()) {}

  std::string Push(const ChatUpdate& update) final {
    if (failed_) return "";
    Take(update);
    if (update.finish) Finish(update);
    return std::exchange(events_, {});
  }

  HttpResponse Whole() final {
    Json body = Head(object_);
    body["choices"] = choices_;
    body["usage"] = usage_.ToJson();
    body["timings"] = usage_.TimingsJson();
    return {.body = Dump(body)};
  }

  HttpResponse Error(const absl::Status& error) const final { return ToOpenAiError(error); }

 protected:
  // Takes in what is new of a choice, and tells it by Tell().
  virtual void Take(const ChatUpdate& update) = 0;
  // The choice as a whole answer has it, and as the stream's last chunk of it; without index and
  // finish_reason.
  virtual Json WholeChoice(int32_t choice) = 0;
  virtual Json LastDelta(int32_t choice) = 0;

  int32_t n_choices() const { return args_.n * args_.prompts; }

  void Tell(int32_t choice, Json content, const Json& finish_reason = nullptr,
            const Json& usage = nullptr) {
    Json told = {{"index", choice}};
    told.update(content);
    told["finish_reason"] = finish_reason;
    if (!usage.is_null()) told["usage"] = usage;
    Json chunk = Head(chunk_object_);
    chunk["choices"] = Json::array({std::move(told)});
    absl::StrAppend(&events_, "data: ", Dump(chunk), "\n\n");
  }

  const OpenAiAnswerArgs args_;
  std::string events_;  // not yet told

 private:
  Json Head(const char* object) const {
    return {{"id", args_.id},
            {"object", object},
            {"created", args_.created_s},
            {"model", args_.model},
            {"system_fingerprint", absl::StrCat("tandem-", TANDEM_VERSION)}};
  }

  void Finish(const ChatUpdate& last) {
    const absl::Status failure = FailureOf(last);
    if (!failure.ok()) {
      failed_ = true;
      absl::StrAppend(&events_, "data: ", OpenAiErrorBody(failure), "\n\n");
      return;
    }
    const Json reason = Name(*last.finish);
    Json& choice = choices_[last.choice];
    choice = {{"index", last.choice}};
    choice.update(WholeChoice(last.choice));
    choice["finish_reason"] = reason;
    UsageSum own;
    own.Add(last.usage, true);
    usage_.Add(last.usage, last.choice % args_.n == 0);
    Tell(last.choice, LastDelta(last.choice), reason, own.ToJson());
    if (++finished_ < n_choices()) return;
    if (args_.include_usage) TellUsage();
    events_ += kDone;
  }

  void TellUsage() {
    Json chunk = Head(chunk_object_);
    chunk["choices"] = Json::array();
    chunk["usage"] = usage_.ToJson();
    chunk["timings"] = usage_.TimingsJson();
    absl::StrAppend(&events_, "data: ", Dump(chunk), "\n\n");
  }

  const char* const object_;
  const char* const chunk_object_;
  std::vector<Json> choices_;  // those that have ended
  UsageSum usage_;
  int32_t finished_ = 0;
  bool failed_ = false;
};

class ChatCompletion final : public OpenAiAnswer {
 public:
  explicit ChatCompletion(OpenAiAnswerArgs args)
      : OpenAiAnswer(std::move(args), "chat.completion", "chat.completion.chunk"),
        messages_(n_choices()) {}

  std::string Begin(int32_t) override {
    for (int32_t choice = 0; choice < n_choices(); ++choice)
      Tell(choice, Delta({{"role", "assistant"}, {"content", ""}}));
    return std::exchange(events_, {});
  }

 private:
  struct Message {
    std::string reasoning, content;
    Json calls = Json::array();
    Json logprobs = Json::array();
    Json new_logprobs = Json::array();  // not yet told
  };

  static Json Delta(Json delta) { return {{"delta", std::move(delta)}}; }

  void Take(const ChatUpdate& update) override {
    Message& message = messages_[update.choice];
    if (args_.logprobs) AddLogprobs(update, message);
    for (const AnswerPiece& piece : update.pieces) TakePiece(update.choice, piece, message);
    if (!message.new_logprobs.empty()) TellText(update.choice, "", message);
  }

  // Those of the text only, as the API has it.
  void AddLogprobs(const ChatUpdate& update, Message& message) {
    for (const ChatToken& token : update.tokens) {
      if (token.part != TokenPart::kText) continue;
      message.new_logprobs.push_back(ChatLogprob(args_.tokenizer, token.token));
      message.logprobs.push_back(message.new_logprobs.back());
    }
  }

  void TellText(int32_t choice, const std::string& text, Message& message) {
    Json content = Delta({{"content", text}});
    if (args_.logprobs)
      content["logprobs"] = {{"content", std::exchange(message.new_logprobs, Json::array())}};
    Tell(choice, std::move(content));
  }

  void TakePiece(int32_t choice, const AnswerPiece& piece, Message& message) {
    switch (piece.kind) {
      case AnswerPiece::Kind::kReasoning:
        message.reasoning += piece.text;
        return Tell(choice, Delta({{"reasoning_content", piece.text}, {"reasoning", piece.text}}));
      case AnswerPiece::Kind::kText:
        message.content += piece.text;
        return TellText(choice, piece.text, message);
      case AnswerPiece::Kind::kToolCall: {
        message.calls.push_back({{"id", piece.call_id},
                                 {"type", "function"},
                                 {"function", {{"name", piece.call_name}, {"arguments", ""}}}});
        Json call = {{"index", piece.call}};
        call.update(message.calls.back());
        return Tell(choice, Delta({{"tool_calls", Json::array({std::move(call)})}}));
      }
      case AnswerPiece::Kind::kToolArguments: {
        message.calls[piece.call]["function"]["arguments"].get_ref<std::string&>() += piece.text;
        Json call = {{"index", piece.call}, {"function", {{"arguments", piece.text}}}};
        return Tell(choice, Delta({{"tool_calls", Json::array({std::move(call)})}}));
      }
    }
  }

  Json WholeChoice(int32_t choice) override {
    Message& from = messages_[choice];
    Json message = {{"role", "assistant"}, {"content", from.content}};
    if (from.content.empty() && !from.calls.empty()) message["content"] = nullptr;
    if (!from.reasoning.empty()) {
      message["reasoning_content"] = from.reasoning;
      message["reasoning"] = from.reasoning;
    }
    if (!from.calls.empty()) message["tool_calls"] = std::move(from.calls);
    Json logprobs;
    if (args_.logprobs) logprobs["content"] = std::move(from.logprobs);
    return {{"message", std::move(message)}, {"logprobs", std::move(logprobs)}};
  }

  Json LastDelta(int32_t) override { return Delta(Json::object()); }

  std::vector<Message> messages_;
};

class Completion final : public OpenAiAnswer {
 public:
  explicit Completion(OpenAiAnswerArgs args)
      : OpenAiAnswer(std::move(args), "text_completion", "text_completion"), texts_(n_choices()) {}

  std::string Begin(int32_t) override {
    for (int32_t choice = 0; choice < n_choices() && !args_.echo.empty(); ++choice) {
      texts_[choice].text = args_.echo[choice / args_.n];
      Tell(choice, {{"text", texts_[choice].text}, {"logprobs", nullptr}});
    }
    return std::exchange(events_, {});
  }

 private:
  struct Text {
    std::string text;
    CompletionLogprobs logprobs, new_logprobs;
  };

  void Take(const ChatUpdate& update) override {
    Text& to = texts_[update.choice];
    std::string added;
    for (const AnswerPiece& piece : update.pieces) added += piece.text;
    if (args_.logprobs) {
      for (const ChatToken& token : update.tokens) {
        to.logprobs.Add(args_.tokenizer, token.token);
        to.new_logprobs.Add(args_.tokenizer, token.token);
      }
    }
    to.text += added;
    if (added.empty() && to.new_logprobs.empty()) return;
    Tell(update.choice,
         {{"text", added}, {"logprobs", args_.logprobs ? to.new_logprobs.Take() : Json()}});
  }

  Json WholeChoice(int32_t choice) override {
    Text& from = texts_[choice];
    return {{"text", from.text}, {"logprobs", args_.logprobs ? from.logprobs.Take() : Json()}};
  }

  Json LastDelta(int32_t) override { return {{"text", ""}, {"logprobs", nullptr}}; }

  std::vector<Text> texts_;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeOpenAiAnswer(OpenAiApi api, const OpenAiRequest& request,
                                               const std::string& model,
                                               const Tokenizer& tokenizer) {
  const bool chat = api == OpenAiApi::kChat;
  const ChatCall& first = request.calls.front();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  OpenAiAnswerArgs args = {
      .id = absl::StrCat(chat ? "chatcmpl-" : "cmpl-", RandomId(kIdLength)),
      .model = model,
      .created_s = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
      .tokenizer = tokenizer,
      .n = first.n,
      .prompts = static_cast<int32_t>(request.calls.size()),
      .logprobs = first.sampling.top_logprobs >= 0,
      .include_usage = request.include_usage,
      .echo = request.echo};
  if (chat) return std::make_unique<ChatCompletion>(std::move(args));
  return std::make_unique<Completion>(std::move(args));
}

}  // namespace tandem
