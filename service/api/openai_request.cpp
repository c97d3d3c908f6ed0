#include "service/api/openai_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/openai_fields.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxTopLogprobs = 20;
constexpr int64_t kCompletionTokens = 16;  // without max_tokens, as the API has it

void ReadMaxTokens(JsonFields& fields, ChatCall& call) {
  const auto old = fields.OptionalInt("max_tokens", 1, kMaxTokens);
  const auto limit = fields.OptionalInt("max_completion_tokens", 1, kMaxTokens);
  if (old && limit && *old != *limit)
    fields.Fail("max_tokens", "the same as max_completion_tokens, or either alone");
  call.max_tokens = static_cast<int32_t>(limit.value_or(old.value_or(0)));
  call.max_reasoning_tokens =
      static_cast<int32_t>(fields.OptionalInt("thinking_token_budget", 1, kMaxTokens).value_or(0));
}

void ReadChatLogprobs(JsonFields& fields, ChatCall& call) {
  const bool wanted = fields.Bool("logprobs", false);
  const auto top = fields.OptionalInt("top_logprobs", 0, kMaxTopLogprobs);
  if (top.value_or(0) > 0 && !wanted) fields.Fail("top_logprobs", "logprobs to be true");
  if (wanted) call.sampling.top_logprobs = static_cast<int32_t>(top.value_or(0));
}

void ReadToolChoice(JsonFields& fields, ChatCall& call) {
  call.parallel_calls = fields.Bool("parallel_tool_calls", true);
  const Json* choice = fields.Optional("tool_choice");
  if (choice == nullptr) return;
  if (!choice->is_object()) {
    const std::string kind = fields.OneOf("tool_choice", {"auto", "none", "required"});
    if (kind == "none") call.tool_choice.kind = ToolChoice::Kind::kNone;
    if (kind == "required") call.tool_choice.kind = ToolChoice::Kind::kRequired;
    return;
  }
  JsonFields named(*choice, "tool_choice");
  named.OneOf("type", {"function"});
  const Json* function = named.OptionalObject("function");
  if (function == nullptr) named.Fail("function", "an object with the function's name");
  fields.Keep(named.Done());
  if (function == nullptr) return;
  JsonFields read(*function, "tool_choice.function");
  call.tool_choice = {ToolChoice::Kind::kNamed, read.Text("name")};
  fields.Keep(read.Done());
}

void ReadFormat(JsonFields& fields, ChatCall& call) {
  const Json* format = fields.OptionalObject("response_format");
  if (format == nullptr) return;
  JsonFields read(*format, "response_format");
  const std::string type = read.OneOf("type", {"text", "json_object", "json_schema"});
  const Json* schema = read.OptionalObject("json_schema");
  if (type == "json_schema" && schema == nullptr) read.Fail("json_schema", "an object");
  fields.Keep(read.Done());
  if (type == "json_object") call.text_rule = TextRule::kJsonObject;
  if (type != "json_schema" || schema == nullptr) return;
  JsonFields rule(*schema, "response_format.json_schema");
  call.text_rule = TextRule::kJsonSchema;
  call.text_schema = rule.Required("schema");
  rule.Ignore({"name", "strict", "description"});  // it is always followed
  fields.Keep(rule.Done());
}

void RefuseOthersOfChat(JsonFields& fields) {
  for (const char* key : {"functions", "function_call"}) fields.Refuse(key, "use tools");
  for (const char* key : {"audio", "web_search_options", "prediction", "moderation"})
    fields.Refuse(key, "this server has nothing of the kind");
  const Json* modalities = fields.OptionalList("modalities", 1);
  if (modalities != nullptr && *modalities != Json::array({"text"}))
    fields.Fail("modalities", "[\"text\"]");
  fields.Refuse("echo", "it is for completions");
  for (const char* key :
       {"separate_reasoning", "stream_reasoning", "include_reasoning", "skip_special_tokens"}) {
    if (!fields.Bool(key, true)) fields.Fail(key, "true");
  }
}

// One id or more, or a text.
absl::StatusOr<std::vector<int32_t>> PromptIds(const Json& prompt, const std::string& where,
                                               const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (prompt.is_string()) {
    ids = tokenizer.Encode(prompt.get_ref<const std::string&>(), /*parse_special=*/true);
    if (!ids.empty()) return ids;
  }
  if (prompt.is_array()) {
    TANDEM_ASSIGN_OR_RETURN(ids, ParseIds(&prompt, where, tokenizer.vocab_size()));
  }
  if (!ids.empty()) return ids;
  return absl::InvalidArgumentError(
      absl::StrCat(where, " is no prompt; expected a text or a list of ids, not empty"));
}

bool IsListOfPrompts(const Json& prompt) {
  return prompt.is_array() && !prompt.empty() &&
         (prompt.front().is_string() || prompt.front().is_array());
}

absl::Status AddPrompts(const Json& prompt, const OpenAiParseArgs& args, const ChatCall& call,
                        bool echo, OpenAiRequest& request) {
  const bool list = IsListOfPrompts(prompt);
  const size_t count = list ? prompt.size() : 1;
  if (static_cast<int64_t>(count) * call.n > args.limits.max_choices)
    return absl::InvalidArgumentError(absl::StrCat("prompt has ", count, " entries and n is ",
                                                   call.n, "; expected at most ",
                                                   args.limits.max_choices, " answers"));
  for (size_t i = 0; i < count; ++i) {
    const Json& one = list ? prompt[i] : prompt;
    const std::string where = list ? EntryOf("prompt", i) : "prompt";
    ChatCall each = call;
    BarePrompt bare;
    TANDEM_ASSIGN_OR_RETURN(bare.ids, PromptIds(one, where, args.tokenizer));
    if (echo)
      request.echo.push_back(one.is_string() ? one.get<std::string>()
                                             : args.tokenizer.DecodeBytes(bare.ids, false));
    each.prompt = std::move(bare);
    request.calls.push_back(std::move(each));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseChatCompletion(const Json& body, const OpenAiParseArgs& args) {
  JsonFields fields(body, "");
  OpenAiRequest request;
  ChatCall call;
  TANDEM_RETURN_IF_ERROR(ReadSharedFields(fields, args, call, request));
  ReadMaxTokens(fields, call);
  ReadChatLogprobs(fields, call);
  ReadToolChoice(fields, call);
  ReadFormat(fields, call);
  RefuseOthersOfChat(fields);
  auto prompt = ReadChatPrompt(fields, args);
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_RETURN_IF_ERROR(prompt.status());
  call.prompt = *std::move(prompt);
  request.calls.push_back(std::move(call));
  return request;
}

absl::StatusOr<OpenAiRequest> ParseCompletion(const Json& body, const OpenAiParseArgs& args) {
  JsonFields fields(body, "");
  OpenAiRequest request;
  ChatCall call;
  TANDEM_RETURN_IF_ERROR(ReadSharedFields(fields, args, call, request));
  call.max_tokens = static_cast<int32_t>(
      fields.OptionalInt("max_tokens", 1, kMaxTokens).value_or(kCompletionTokens));
  if (const auto top = fields.OptionalInt("logprobs", 0, kMaxTopLogprobs))
    call.sampling.top_logprobs = static_cast<int32_t>(*top);
  call.skip_special = fields.Bool("skip_special_tokens", true);
  const bool echo = fields.Bool("echo", false);
  if (echo && call.sampling.top_logprobs >= 0)
    fields.Fail("logprobs", "none with echo: log-probabilities are those of answers");
  const auto best_of = fields.OptionalInt("best_of", 1, args.limits.max_choices);
  if (best_of && *best_of != call.n) fields.Fail("best_of", "the same as n: all answers are told");
  fields.Refuse("suffix", "the model does not fill in");
  fields.Refuse("response_format", "it is for chat completions");
  const Json& prompt = fields.Required("prompt");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_RETURN_IF_ERROR(AddPrompts(prompt, args, call, echo, request));
  return request;
}

}  // namespace tandem
