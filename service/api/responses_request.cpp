#include "service/api/responses_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/json_fields.h"
#include "service/api/request_parts.h"
#include "service/api/responses_items.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxMetadata = 16, kMaxMetadataKey = 64, kMaxMetadataValue = 512;

absl::Status SetReasoning(const Json* reasoning, ChatPrompt& prompt) {
  if (reasoning == nullptr) return absl::OkStatus();
  JsonFields fields(*reasoning, "reasoning");
  if (fields.Optional("effort") != nullptr) {
    prompt.options.thinking = fields.OneOf("effort", {"none", "minimal", "low", "medium", "high",
                                                      "xhigh", "max"}) != "none";
  }
  prompt.options.preserve_thinking =
      fields.OneOf("context", {"auto", "current_turn", "all_turns"}) == "all_turns";
  fields.OneOf("mode", {"standard"});
  fields.Ignore({"summary", "generate_summary"});
  return fields.Done();
}

absl::Status SetText(const Json* text, ChatCall& call) {
  if (text == nullptr) return absl::OkStatus();
  JsonFields fields(*text, "text");
  const Json* format = fields.OptionalObject("format");
  fields.Ignore({"verbosity"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  if (format == nullptr) return absl::OkStatus();
  JsonFields rule(*format, "text.format");
  const std::string type = rule.OneOf("type", {"text", "json_object", "json_schema"});
  if (type == "json_object") call.text_rule = TextRule::kJsonObject;
  if (type == "json_schema") {
    call.text_rule = TextRule::kJsonSchema;
    call.text_schema = rule.Required("schema");
    rule.Ignore({"name", "strict", "description"});
  }
  return rule.Done();
}

absl::Status SetToolChoice(JsonFields& fields, ChatCall& call) {
  const Json* choice = fields.Optional("tool_choice");
  if (choice == nullptr) return absl::OkStatus();
  if (choice->is_object()) {
    JsonFields named(*choice, "tool_choice");
    const std::string type = named.Text("type");
    if (type != "function") named.Fail("type", "\"function\"");
    call.tool_choice = {ToolChoice::Kind::kNamed, named.Text("name")};
    return named.Done();
  }
  const std::string kind = fields.OneOf("tool_choice", {"auto", "none", "required"});
  if (kind == "none") call.tool_choice.kind = ToolChoice::Kind::kNone;
  if (kind == "required") call.tool_choice.kind = ToolChoice::Kind::kRequired;
  return absl::OkStatus();
}

absl::Status CheckMetadata(const Json* metadata) {
  if (metadata == nullptr) return absl::OkStatus();
  bool fits = metadata->size() <= kMaxMetadata;
  for (const auto& [key, value] : metadata->items()) {
    fits = fits && key.size() <= kMaxMetadataKey && value.is_string() &&
           value.get_ref<const std::string&>().size() <= kMaxMetadataValue;
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("metadata is too large; expected at most ", kMaxMetadata, " strings of at most ",
                   kMaxMetadataValue, " bytes under names of at most ", kMaxMetadataKey));
}

void SetSampling(JsonFields& fields, ChatCall& call) {
  if (const auto value = fields.OptionalNumber("temperature", 0, 2)) call.temperature = *value;
  if (const auto value = fields.OptionalNumber("top_p", 0, 1)) call.top_p = *value;
  call.max_tokens =
      static_cast<int32_t>(fields.OptionalInt("max_output_tokens", 1, kMaxTokens).value_or(0));
  call.parallel_calls = fields.Bool("parallel_tool_calls", true);
}

void RefuseOthers(JsonFields& fields) {
  fields.Ignore({"user", "safety_identifier", "service_tier", "prompt_cache_key",
                 "prompt_cache_retention", "prompt_cache_options", "stream_options",
                 "max_tool_calls"});
  fields.Refuse("background", "an answer is told to whoever asked; ask without it");
  fields.Refuse("conversation", "use previous_response_id");
  fields.Refuse("prompt", "this server keeps no prompt templates");
  fields.Refuse("context_management", "conversations are not shortened here");
  fields.Refuse("moderation", "this server does not moderate");
  if (fields.OptionalInt("top_logprobs", 0, 0)) return;
}

// The fields that a response repeats, in the order in which they are told.
Json EchoOf(const Json& body) {
  const auto given = [&](const char* key, Json absent) {
    const auto found = body.find(key);
    return found == body.end() || found->is_null() ? std::move(absent) : *found;
  };
  Json text = given("text", Json::object());
  if (!text.contains("format")) text["format"] = {{"type", "text"}};
  return {{"instructions", given("instructions", nullptr)},
          {"max_output_tokens", given("max_output_tokens", nullptr)},
          {"max_tool_calls", given("max_tool_calls", nullptr)},
          {"metadata", given("metadata", Json::object())},
          {"parallel_tool_calls", given("parallel_tool_calls", true)},
          {"previous_response_id", given("previous_response_id", nullptr)},
          {"prompt_cache_key", given("prompt_cache_key", nullptr)},
          {"reasoning", given("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
          {"safety_identifier", given("safety_identifier", nullptr)},
          {"service_tier", "default"},
          {"store", given("store", true)},
          {"temperature", given("temperature", nullptr)},
          {"text", std::move(text)},
          {"tool_choice", given("tool_choice", "auto")},
          {"tools", given("tools", Json::array())},
          {"top_logprobs", 0},
          {"top_p", given("top_p", nullptr)},
          {"truncation", "disabled"},
          {"user", given("user", nullptr)}};
}

bool Includes(const Json* include, const char* what) {
  for (size_t i = 0; include != nullptr && i < include->size(); ++i)
    if ((*include)[i] == what) return true;
  return false;
}

absl::StatusOr<Json> HistoryOf(const std::optional<std::string>& previous,
                               const ResponsesParseArgs& args) {
  if (!previous) return Json::array();
  const auto kept = args.store.Find(args.caller, *previous);
  if (!kept)
    return absl::NotFoundError(
        "previous_response_id is of no response that is kept here; expected one that was stored "
        "lately and not deleted");
  return Json::parse(kept->messages);
}

}  // namespace

absl::StatusOr<ResponsesRequest> ParseResponsesRequest(const Json& body,
                                                       const ResponsesParseArgs& args) {
  JsonFields fields(body, "");
  ResponsesRequest request;
  ChatPrompt prompt;
  prompt.options.thinking = args.thinking_default;
  request.model = fields.Text("model");
  request.stream = fields.Bool("stream", false);
  request.store = fields.Bool("store", true);
  const Json& input = fields.Required("input");
  const auto instructions = fields.OptionalText("instructions");
  const auto previous = fields.OptionalText("previous_response_id");
  const Json* tools = fields.OptionalList("tools", args.limits.max_tools);
  const Json* reasoning = fields.OptionalObject("reasoning");
  const Json* text = fields.OptionalObject("text");
  const Json* metadata = fields.OptionalObject("metadata");
  const Json* include = fields.OptionalList("include", 16);
  fields.OneOf("truncation", {"disabled"});
  SetSampling(fields, request.call);
  const absl::Status choice = SetToolChoice(fields, request.call);
  RefuseOthers(fields);
  if (Includes(include, "message.output_text.logprobs"))
    fields.Fail("include", "no log-probabilities: POST /v1/chat/completions has them");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  TANDEM_RETURN_IF_ERROR(choice);

  request.seal_reasoning = Includes(include, "reasoning.encrypted_content");
  request.echo = EchoOf(body);
  TANDEM_RETURN_IF_ERROR(CheckMetadata(metadata));
  TANDEM_RETURN_IF_ERROR(SetReasoning(reasoning, prompt));
  TANDEM_RETURN_IF_ERROR(SetText(text, request.call));
  TANDEM_ASSIGN_OR_RETURN(prompt.tools, ConvertResponsesTools(tools, args.limits));
  TANDEM_ASSIGN_OR_RETURN(request.messages, HistoryOf(previous, args));
  TANDEM_RETURN_IF_ERROR(AddResponsesInput(input, args.limits, request.messages));
  prompt.messages = Json::array();
  if (instructions) prompt.messages.push_back({{"role", "system"}, {"content", *instructions}});
  prompt.messages.insert(prompt.messages.end(), request.messages.begin(), request.messages.end());
  request.call.prompt = std::move(prompt);
  return request;
}

}  // namespace tandem
