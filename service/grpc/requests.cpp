#include "service/grpc/requests.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/bounded_json.h"
#include "service/grpc/conversation.h"

namespace tandem {
namespace {

template <class... Expected>
absl::Status Bad(const std::string& field, const std::string& value, const Expected&... expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; expected ", expected...));
}

absl::Status CheckStops(const v1::OutputOptions& output, const Limits& limits) {
  if (output.stop_size() > limits.max_stop_strings) {
    return Bad("output.stop", absl::StrCat("a list of ", output.stop_size()), "at most ",
               limits.max_stop_strings, " strings");
  }
  for (int i = 0; i < output.stop_size(); ++i) {
    const size_t bytes = output.stop(i).size();
    if (bytes == 0 || bytes > static_cast<size_t>(limits.max_stop_bytes)) {
      return Bad(absl::StrCat("output.stop[", i, "]"), absl::StrCat(bytes, " bytes long"), "1 to ",
                 limits.max_stop_bytes, " bytes");
    }
  }
  if (output.stop_token_ids_size() > limits.max_stop_token_ids) {
    return Bad("output.stop_token_ids", absl::StrCat("a list of ", output.stop_token_ids_size()),
               "at most ", limits.max_stop_token_ids, " ids");
  }
  return absl::OkStatus();
}

absl::Status SetSampling(const v1::Sampling& from, const Limits& limits, ChatCall& call) {
  SamplingParams& to = call.sampling;
  call.temperature = from.has_temperature() ? from.temperature() : to.temperature;
  call.top_p = from.has_top_p() ? from.top_p() : to.top_p;
  if (from.has_top_k()) to.top_k = from.top_k();
  if (from.has_min_p()) to.min_p = from.min_p();
  if (from.has_seed()) to.seed = from.seed();
  if (from.has_repetition_penalty()) to.repetition_penalty = from.repetition_penalty();
  if (from.has_presence_penalty()) to.presence_penalty = from.presence_penalty();
  if (from.has_frequency_penalty()) to.frequency_penalty = from.frequency_penalty();
  if (from.logit_bias_size() > limits.max_logit_bias) {
    return Bad("sampling.logit_bias", absl::StrCat("a map of ", from.logit_bias_size()), "at most ",
               limits.max_logit_bias, " entries");
  }
  to.logit_bias.assign(from.logit_bias().begin(), from.logit_bias().end());
  return absl::OkStatus();
}

absl::Status SetOutput(const v1::OutputOptions& from, const Tokenizer& tokenizer,
                       const Limits& limits, ChatCall& to) {
  TANDEM_RETURN_IF_ERROR(CheckStops(from, limits));
  TANDEM_RETURN_IF_ERROR(CheckIds(from.stop_token_ids(), "output.stop_token_ids", tokenizer));
  if (from.has_max_tokens()) {
    if (from.max_tokens() < 1) {
      return Bad("output.max_tokens", absl::StrCat(from.max_tokens()),
                 "1 or more (or leave it out for no limit)");
    }
    to.max_tokens = from.max_tokens();
  }
  if (from.has_top_logprobs()) {
    if (from.top_logprobs() < 0 || from.top_logprobs() > 20) {
      return Bad("output.top_logprobs", absl::StrCat(from.top_logprobs()), "0 to 20");
    }
    to.sampling.top_logprobs = from.top_logprobs();
  }
  to.stop.assign(from.stop().begin(), from.stop().end());
  to.stop_ids.assign(from.stop_token_ids().begin(), from.stop_token_ids().end());
  to.ignore_eos = from.ignore_eos();
  return absl::OkStatus();
}

absl::Status SetToolChoice(const v1::ToolChoice& from, ToolChoice& to) {
  if (from.choice_case() == v1::ToolChoice::kName) {
    to = {ToolChoice::Kind::kNamed, from.name()};
    return absl::OkStatus();
  }
  switch (from.mode()) {
    case v1::TOOL_CHOICE_AUTO:
      return absl::OkStatus();
    case v1::TOOL_CHOICE_NONE:
      to.kind = ToolChoice::Kind::kNone;
      return absl::OkStatus();
    case v1::TOOL_CHOICE_REQUIRED:
      to.kind = ToolChoice::Kind::kRequired;
      return absl::OkStatus();
    default:
      return Bad("tool_choice.mode", absl::StrCat(static_cast<int>(from.mode())),
                 "TOOL_CHOICE_AUTO, TOOL_CHOICE_NONE or TOOL_CHOICE_REQUIRED");
  }
}

absl::Status SetFormat(const v1::ResponseFormat& from, const Limits& limits, ChatCall& to) {
  if (from.has_json_schema()) {
    auto schema = ParseBoundedJson(from.json_schema(), limits, limits.max_tool_bytes);
    if (!schema.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("response_format.json_schema ",
                                                     std::string(schema.status().message()),
                                                     "; expected a JSON Schema"));
    }
    to.text_rule = TextRule::kJsonSchema;
    to.text_schema = *std::move(schema);
  } else if (from.json_object()) {
    to.text_rule = TextRule::kJsonObject;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckIds(const google::protobuf::RepeatedField<int32_t>& ids, const char* field,
                      const Tokenizer& tokenizer) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= tokenizer.vocab_size()) {
      return Bad(absl::StrCat(field, "[", i, "]"), absl::StrCat(ids[i]), "0 to ",
                 tokenizer.vocab_size() - 1);
    }
  }
  return absl::OkStatus();
}

absl::Status SetLabel(const std::string& label, const Limits& limits, RequestTags& tags) {
  if (label.size() > static_cast<size_t>(limits.max_label_bytes)) {
    return Bad("label", absl::StrCat(label.size(), " bytes long"), "at most ",
               limits.max_label_bytes, " bytes");
  }
  if (!label.empty()) tags.label = label;
  return absl::OkStatus();
}

absl::StatusOr<ChatCall> ToChatCall(const v1::GenerateRequest& request, const Tokenizer& tokenizer,
                                    const Limits& limits) {
  ChatCall call;
  TANDEM_RETURN_IF_ERROR(SetSampling(request.sampling(), limits, call));
  TANDEM_RETURN_IF_ERROR(SetOutput(request.output(), tokenizer, limits, call));
  if (request.has_skip_special_tokens()) call.skip_special = request.skip_special_tokens();
  BarePrompt prompt;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      if (request.text().empty()) return Bad("text", "empty", "a prompt");
      prompt.ids = tokenizer.Encode(request.text(), request.parse_special_tokens());
      break;
    case v1::GenerateRequest::kTokens: {
      const auto& ids = request.tokens().ids();
      if (ids.empty()) return Bad("tokens.ids", "empty", "a prompt");
      TANDEM_RETURN_IF_ERROR(CheckIds(ids, "tokens.ids", tokenizer));
      prompt.ids.assign(ids.begin(), ids.end());
      break;
    }
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return Bad("prompt", "missing", "text or tokens");
  }
  call.prompt = std::move(prompt);
  return call;
}

absl::StatusOr<ChatCall> ToChatCall(const v1::ChatRequest& request, const Tokenizer& tokenizer,
                                    const Limits& limits) {
  ChatCall call;
  TANDEM_RETURN_IF_ERROR(SetSampling(request.sampling(), limits, call));
  TANDEM_RETURN_IF_ERROR(SetOutput(request.output(), tokenizer, limits, call));
  TANDEM_ASSIGN_OR_RETURN(call.prompt, ToPrompt(request.conversation(), limits));
  TANDEM_RETURN_IF_ERROR(SetToolChoice(request.tool_choice(), call.tool_choice));
  if (request.has_parallel_tool_calls()) call.parallel_calls = request.parallel_tool_calls();
  TANDEM_RETURN_IF_ERROR(SetFormat(request.response_format(), limits, call));
  if (request.max_reasoning_tokens() < 0)
    return Bad("max_reasoning_tokens", absl::StrCat(request.max_reasoning_tokens()), "0 or more");
  call.max_reasoning_tokens = request.max_reasoning_tokens();
  return call;
}

}  // namespace tandem
