#include "service/api/chat_request.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/text_stream.h"
#include "service/api/volatile_fields.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// Published advice for the family (kimi_k26: sampling).
constexpr float kThinkingTemperature = 1.0f, kInstantTemperature = 0.6f, kChatTopP = 0.95f;

absl::StatusOr<std::vector<CallableTool>> CallableTools(const ChatCall& call, const Json& tools) {
  std::vector<CallableTool> callable;
  if (tools.is_null() || call.tool_choice.kind == ToolChoice::Kind::kNone) return callable;
  const bool named = call.tool_choice.kind == ToolChoice::Kind::kNamed;
  for (size_t i = 0; i < tools.size(); ++i) {
    const auto function = tools[i].find("function");
    const auto name = function == tools[i].end() ? tools[i].end() : function->find("name");
    if (function == tools[i].end() || name == function->end() || !name->is_string())
      return absl::InvalidArgumentError(
          absl::StrCat("tools[", i, "].function.name is missing; expected the function's name"));
    if (named && *name != call.tool_choice.name) continue;
    callable.push_back({*name, function->value("parameters", Json()),
                        function->contains("strict") && function->at("strict") == true});
  }
  if (named && callable.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tool_choice names the function \"",
                                                   call.tool_choice.name,
                                                   "\"; expected one of those in tools"));
  }
  return callable;
}

absl::Status SetRules(const ChatCall& call, const ChatPrompt& prompt, PreparedChat& chat) {
  AnswerRules& rules = chat.rules;
  rules.thinking = chat.in_reasoning;
  rules.max_reasoning_tokens = chat.in_reasoning ? call.max_reasoning_tokens : 0;
  rules.text = call.text_rule;
  rules.text_schema = call.text_schema;
  rules.parallel_calls = call.parallel_calls;
  rules.first_call_index = chat.first_call_index;
  TANDEM_ASSIGN_OR_RETURN(rules.tools, CallableTools(call, prompt.tools));
  const auto kind = call.tool_choice.kind;
  const bool must = kind == ToolChoice::Kind::kRequired || kind == ToolChoice::Kind::kNamed;
  if (must && rules.tools.empty())
    return absl::InvalidArgumentError("tool_choice asks for a call; expected tools to call");
  rules.tool_rule = must                  ? ToolRule::kRequired
                    : rules.tools.empty() ? ToolRule::kNone
                                          : ToolRule::kAuto;
  // Without any of these the model is left alone: no token of its answer has to be looked at.
  const bool has_tools = prompt.tools.is_array() && !prompt.tools.empty();
  chat.has_rules = has_tools || rules.text != TextRule::kFree || rules.max_reasoning_tokens > 0;
  return absl::OkStatus();
}

absl::Status SetChat(const ServiceContext& service, const ChatCall& call, const ChatPrompt& prompt,
                     PreparedChat& chat) {
  TANDEM_ASSIGN_OR_RETURN(RenderedChat rendered, RenderPrompt(service, prompt));
  chat.is_chat = true;
  chat.in_reasoning = rendered.in_reasoning;
  chat.first_call_index = rendered.next_call_index;
  chat.request.stop_scope = ChatStopScope(service.engine.tokenizer(), chat.in_reasoning);
  chat.request.prompt_ids = std::move(rendered.ids);
  chat.request.sampling.temperature = call.temperature.value_or(
      prompt.options.thinking ? kThinkingTemperature : kInstantTemperature);
  chat.request.sampling.top_p = call.top_p.value_or(kChatTopP);
  return SetRules(call, prompt, chat);
}

void SetBare(const ChatCall& call, BarePrompt prompt, PreparedChat& chat) {
  chat.request.prompt_ids = std::move(prompt.ids);
  chat.request.skip_special = call.skip_special;
  chat.request.sampling.temperature = call.temperature.value_or(1.0f);
  chat.request.sampling.top_p = call.top_p.value_or(1.0f);
}

}  // namespace

absl::StatusOr<RenderedChat> RenderPrompt(const ServiceContext& service, const ChatPrompt& prompt) {
  const Tokenizer& tokenizer = service.engine.tokenizer();
  ChatOptions options = prompt.options;
  TANDEM_ASSIGN_OR_RETURN(options.style,
                          ChatStyleFor(service.engine.config().model_type, tokenizer));
  const auto cleaned =
      service.policy.normalise_volatile ? WithoutVolatileFields(prompt.messages) : std::nullopt;
  return RenderChat(tokenizer, cleaned ? *cleaned : prompt.messages, prompt.tools, options);
}

absl::StatusOr<PreparedChat> PrepareChat(const ServiceContext& service, ChatCall call,
                                         const Caller& caller, const RequestTags& tags) {
  PreparedChat chat;
  GenerationRequest& request = chat.request;
  request.sampling = call.sampling;
  if (auto* prompt = std::get_if<ChatPrompt>(&call.prompt)) {
    TANDEM_RETURN_IF_ERROR(SetChat(service, call, *prompt, chat));
  } else {
    SetBare(call, std::get<BarePrompt>(std::move(call.prompt)), chat);
  }
  request.max_tokens = call.max_tokens;
  request.stop = std::move(call.stop);
  request.stop_ids = std::move(call.stop_ids);
  request.ignore_eos = call.ignore_eos;
  request.label = tags.label;
  request.priority = tags.priority;
  request.deadline = tags.deadline;
  // The agents of a task are one party, as somebody without a task is.
  request.fair_share = absl::StrCat(caller.name, "\n", tags.task);
  request.cache_salt = absl::StrCat(caller.name, "\n", call.cache_salt);
  return chat;
}

}  // namespace tandem
