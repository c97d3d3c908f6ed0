#include "service/api/anthropic_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/anthropic_messages.h"
#include "service/api/json_fields.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// Without the field there is no thinking: that is what the API's clients expect, and what they are
// prepared to show.
absl::Status SetThinking(const Json* thinking, AnthropicRequest& request, ChatPrompt& prompt) {
  prompt.options.thinking = false;
  if (thinking == nullptr) return absl::OkStatus();
  JsonFields fields(*thinking, "thinking");
  const std::string type = fields.OneOf("type", {"disabled", "enabled", "adaptive"});
  const auto budget = fields.OptionalInt("budget_tokens", 1, kMaxTokens);
  request.omit_thinking = fields.OneOf("display", {"summarized", "omitted"}) == "omitted";
  if (type == "enabled" && !budget) fields.Fail("budget_tokens", "a number of tokens");
  TANDEM_RETURN_IF_ERROR(fields.Done());
  prompt.options.thinking = type != "disabled";
  if (type == "enabled") request.call.max_reasoning_tokens = static_cast<int32_t>(*budget);
  return absl::OkStatus();
}

absl::Status SetToolChoice(const Json* choice, ChatCall& call) {
  if (choice == nullptr) return absl::OkStatus();
  JsonFields fields(*choice, "tool_choice");
  const std::string type = fields.OneOf("type", {"auto", "any", "tool", "none"});
  if (type == "any") call.tool_choice.kind = ToolChoice::Kind::kRequired;
  if (type == "none") call.tool_choice.kind = ToolChoice::Kind::kNone;
  if (type == "tool") call.tool_choice = {ToolChoice::Kind::kNamed, fields.Text("name")};
  call.parallel_calls = !fields.Bool("disable_parallel_tool_use", false);
  return fields.Done();
}

absl::Status SetOutput(const Json* config, ChatCall& call) {
  if (config == nullptr) return absl::OkStatus();
  JsonFields fields(*config, "output_config");
  const Json* format = fields.OptionalObject("format");
  fields.Ignore({"effort"});
  TANDEM_RETURN_IF_ERROR(fields.Done());
  if (format == nullptr) return absl::OkStatus();
  JsonFields schema(*format, "output_config.format");
  schema.OneOf("type", {"json_schema"});
  call.text_schema = schema.Required("schema");
  call.text_rule = TextRule::kJsonSchema;
  return schema.Done();
}

// What a client would like to have cut out of a long conversation. Only what the model's own
// template does can be had: reasoning of finished turns is left out, or with "all" kept.
absl::Status SetContext(const Json* context, ChatPrompt& prompt) {
  if (context == nullptr) return absl::OkStatus();
  JsonFields fields(*context, "context_management");
  const Json* edits = fields.OptionalList("edits", 16);
  TANDEM_RETURN_IF_ERROR(fields.Done());
  for (size_t i = 0; edits != nullptr && i < edits->size(); ++i) {
    JsonFields edit((*edits)[i], absl::StrCat("context_management.edits[", i, "]"));
    edit.Text("type");
    edit.OneOf("type", {"clear_thinking_20251015"});
    const Json* keep = edit.Optional("keep");
    TANDEM_RETURN_IF_ERROR(edit.Done());
    const bool all = keep != nullptr && (*keep == "all" || *keep == Json{{"type", "all"}});
    if (all) prompt.options.preserve_thinking = true;
  }
  return absl::OkStatus();
}

void SetSampling(JsonFields& fields, ChatCall& call) {
  if (const auto value = fields.OptionalNumber("temperature", 0, 2)) call.temperature = *value;
  if (const auto value = fields.OptionalNumber("top_p", 0, 1)) call.top_p = *value;
  if (const auto value = fields.OptionalInt("top_k", 0, kMaxTokens))
    call.sampling.top_k = static_cast<int32_t>(*value);
}

void RefuseOthers(JsonFields& fields) {
  fields.Ignore({"metadata", "service_tier", "cache_control", "inference_geo", "speed",
                 "diagnostics", "user_profile_id", "workspace_id", "anthropic_beta", "betas"});
  fields.Refuse("container", "this server runs no code");
  fields.Refuse("mcp_servers", "this server calls no other servers");
  fields.Refuse("fallbacks", "this server has one model");
  fields.Refuse("compaction", "conversations are not shortened here");
  fields.Refuse("thread", "this server keeps no conversations");
}

}  // namespace

absl::StatusOr<AnthropicRequest> ParseAnthropicRequest(const Json& body,
                                                       const AnthropicParseArgs& args) {
  JsonFields fields(body, "");
  AnthropicRequest request;
  ChatPrompt prompt;
  request.model = fields.Text("model");
  request.stream = fields.Bool("stream", false);
  const auto max_tokens = fields.OptionalInt("max_tokens", 1, kMaxTokens);
  if (!max_tokens && !args.counting) fields.Fail("max_tokens", "a number of tokens");
  request.call.max_tokens = static_cast<int32_t>(max_tokens.value_or(0));
  SetSampling(fields, request.call);
  const Json* system = fields.Optional("system");
  const Json& messages = fields.Required("messages");
  const Json* tools = fields.OptionalList("tools", args.limits.max_tools);
  const Json* stops = fields.OptionalList("stop_sequences", args.limits.max_stop_strings);
  const Json* thinking = fields.OptionalObject("thinking");
  const Json* tool_choice = fields.OptionalObject("tool_choice");
  const Json* output = fields.OptionalObject("output_config");
  const Json* context = fields.OptionalObject("context_management");
  RefuseOthers(fields);
  TANDEM_RETURN_IF_ERROR(fields.Done());

  TANDEM_RETURN_IF_ERROR(SetThinking(thinking, request, prompt));
  TANDEM_RETURN_IF_ERROR(SetToolChoice(tool_choice, request.call));
  TANDEM_RETURN_IF_ERROR(SetOutput(output, request.call));
  TANDEM_ASSIGN_OR_RETURN(request.call.stop, ParseStops(stops, "stop_sequences", args.limits));
  TANDEM_RETURN_IF_ERROR(SetContext(context, prompt));
  TANDEM_ASSIGN_OR_RETURN(prompt.messages, ConvertAnthropicMessages(system, messages, args));
  TANDEM_ASSIGN_OR_RETURN(prompt.tools, ConvertAnthropicTools(tools, args.limits));
  request.call.prompt = std::move(prompt);
  return request;
}

}  // namespace tandem
