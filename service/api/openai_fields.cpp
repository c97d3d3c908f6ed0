#include "service/api/openai_fields.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/api/request_parts.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMaxBias = 100;

void SetFloat(JsonFields& fields, const char* key, double min, double max, float& to) {
  if (const auto value = fields.OptionalNumber(key, min, max)) to = static_cast<float>(*value);
}

void SetSampling(JsonFields& fields, ChatCall& call) {
  SamplingParams& to = call.sampling;
  if (const auto value = fields.OptionalNumber("temperature", 0, 2)) call.temperature = *value;
  if (const auto value = fields.OptionalNumber("top_p", 0, 1)) call.top_p = *value;
  to.top_k = static_cast<int32_t>(fields.OptionalInt("top_k", -1, kMaxTokens).value_or(0));
  if (to.top_k < 0) to.top_k = 0;  // how some clients say: off
  SetFloat(fields, "min_p", 0, 1, to.min_p);
  SetFloat(fields, "repetition_penalty", 0.01, 10, to.repetition_penalty);
  SetFloat(fields, "presence_penalty", -2, 2, to.presence_penalty);
  SetFloat(fields, "frequency_penalty", -2, 2, to.frequency_penalty);
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (const auto seed = fields.OptionalInt("seed", kMin, kMax))
    to.seed = static_cast<uint64_t>(*seed);
}

absl::Status SetLogitBias(const Json* bias, const OpenAiParseArgs& args, ChatCall& call) {
  if (bias == nullptr) return absl::OkStatus();
  if (bias->size() > static_cast<size_t>(args.limits.max_logit_bias))
    return absl::InvalidArgumentError(absl::StrCat("logit_bias has ", bias->size(),
                                                   " entries; expected at most ",
                                                   args.limits.max_logit_bias));
  const int32_t vocab = args.tokenizer.vocab_size();
  JsonFields values(*bias, "logit_bias");
  for (const auto& [key, value] : bias->items()) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= vocab || std::to_string(id) != key) {
      values.Fail(key, absl::StrCat("ids from 0 to ", vocab - 1, " as names"));
      break;
    }
    if (const auto number = values.OptionalNumber(key.c_str(), -kMaxBias, kMaxBias))
      call.sampling.logit_bias.emplace_back(id, static_cast<float>(*number));
  }
  return values.Done();
}

absl::Status SetEnds(const Json* stop, const Json* stop_ids, const OpenAiParseArgs& args,
                     ChatCall& call) {
  const Json one = stop != nullptr && stop->is_string() ? Json::array({*stop}) : Json();
  TANDEM_ASSIGN_OR_RETURN(call.stop, ParseStops(one.is_null() ? stop : &one, "stop", args.limits));
  TANDEM_ASSIGN_OR_RETURN(call.stop_ids,
                          ParseIds(stop_ids, "stop_token_ids", args.tokenizer.vocab_size()));
  return absl::OkStatus();
}

const Json* ReadStop(JsonFields& fields, const Limits& limits) {
  const Json* stop = fields.Optional("stop");
  return stop == nullptr || stop->is_string()
             ? stop
             : fields.OptionalList("stop", limits.max_stop_strings);
}

void ReadOptions(JsonFields& fields, OpenAiRequest& request) {
  const Json* options = fields.OptionalObject("stream_options");
  if (options == nullptr) return;
  JsonFields read(*options, "stream_options");
  request.include_usage = read.Bool("include_usage", false);
  read.Ignore({"continuous_usage_stats", "include_obfuscation"});
  fields.Keep(read.Done());
}

void RefuseOthers(JsonFields& fields) {
  fields.Ignore({"user", "metadata", "store", "service_tier", "safety_identifier",
                 "prompt_cache_key", "prompt_cache_retention", "request_id", "rid", "session_id",
                 "spaces_between_special_tokens", "verbosity", "add_special_tokens"});
  fields.Refuse("min_tokens", "an answer may end when the model ends it (ignore_eos goes on)");
  fields.Refuse("bad_words", "use logit_bias");
  fields.Refuse("allowed_token_ids", "use response_format");
  fields.Refuse("include_stop_str_in_output", "stop strings are never part of an answer");
  fields.Refuse("prompt_logprobs", "log-probabilities are those of answers");
  fields.Refuse("truncate_prompt_tokens", "prompts are not shortened here");
  fields.Refuse("return_token_ids", "POST /tokenize gives ids");
  for (const char* key : {"regex", "ebnf", "structured_outputs", "guided_json", "guided_regex",
                          "guided_choice", "guided_grammar", "structural_tag"}) {
    fields.Refuse(key, "use response_format");
  }
  for (const char* key :
       {"lora_path", "custom_params", "logits_processors", "mm_processor_kwargs", "extra_key"}) {
    fields.Refuse(key, "this server has nothing of the kind");
  }
  if (fields.OptionalInt("priority", 0, 0)) return;  // the header Tandem-Priority says it
}

}  // namespace

absl::Status ReadSharedFields(JsonFields& fields, const OpenAiParseArgs& args, ChatCall& call,
                              OpenAiRequest& request) {
  request.model = fields.Text("model");
  request.stream = fields.Bool("stream", false);
  ReadOptions(fields, request);
  call.n = static_cast<int32_t>(fields.OptionalInt("n", 1, args.limits.max_choices).value_or(1));
  call.ignore_eos = fields.Bool("ignore_eos", false);
  call.cache_salt = fields.OptionalText("cache_salt").value_or("");
  SetSampling(fields, call);
  const Json* bias = fields.OptionalObject("logit_bias");
  const Json* stop = ReadStop(fields, args.limits);
  const Json* stop_ids = fields.OptionalList("stop_token_ids", args.limits.max_stop_token_ids);
  RefuseOthers(fields);
  TANDEM_RETURN_IF_ERROR(SetLogitBias(bias, args, call));
  return SetEnds(stop, stop_ids, args, call);
}

}  // namespace tandem
