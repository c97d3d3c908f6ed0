// Every field of every API over HTTP with values at and beyond its edges, and bodies that are too
// much: each is answered, or refused by a sentence that names the field, and costs nothing else.
#include <cmath>
#include <limits>
#include <optional>

#include "service/api/anthropic_routes.h"
#include "service/api/openai_routes.h"
#include "service/api/responses_routes.h"
#include "tests/service/api_fixture.h"
#include "tests/service/internal_words.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using Pointer = Json::json_pointer;

using Number = long double;  // holds every 64-bit integer

constexpr Number kMaxInt = std::numeric_limits<int32_t>::max();

// What a field accepts; everything else has to be refused.
struct Field {
  enum Kind { kInteger, kNumber, kBool };
  const char* pointer;
  Kind kind;
  Number min = 0, max = 0;
  bool required = false;
  bool min_excluded = false;
};

struct Api {
  const char* name;
  const char* path;
  const char* good;      // a body that is answered
  const char* messages;  // where its list of messages is; null: there is none
  const char* text;      // where a message's text is
  std::vector<Field> fields;
  std::vector<const char*> all_fields;  // of the body
};

std::ostream& operator<<(std::ostream& out, const Api& api) { return out << api.name; }

const std::vector<Api>& Apis() {
  constexpr Number kMinSeed = std::numeric_limits<int64_t>::min();
  constexpr Number kMaxSeed = std::numeric_limits<int64_t>::max();
  static const std::vector<Api> apis = {
      {"OpenAiChat",
       "/v1/chat/completions",
       R"({"model":"m","logprobs":true,"logit_bias":{},"messages":[{"role":"user","content":"hi"}]})",
       "/messages",
       "/messages/0/content",
       {{"/max_tokens", Field::kInteger, 1, kMaxInt},
        {"/max_completion_tokens", Field::kInteger, 1, kMaxInt},
        {"/thinking_token_budget", Field::kInteger, 1, kMaxInt},
        {"/n", Field::kInteger, 1, 16},
        {"/top_logprobs", Field::kInteger, 0, 20},
        {"/top_k", Field::kInteger, -1, kMaxInt},
        {"/seed", Field::kInteger, kMinSeed, kMaxSeed},
        {"/priority", Field::kInteger, 0, 0},
        {"/temperature", Field::kNumber, 0, 2},
        {"/top_p", Field::kNumber, 0, 1, false, true},
        {"/min_p", Field::kNumber, 0, 1},
        {"/presence_penalty", Field::kNumber, -2, 2},
        {"/frequency_penalty", Field::kNumber, -2, 2},
        {"/repetition_penalty", Field::kNumber, 0.01L, 10},
        {"/logit_bias/65", Field::kNumber, -100, 100},
        {"/stream", Field::kBool},
        {"/logprobs", Field::kBool},
        {"/parallel_tool_calls", Field::kBool},
        {"/stream_options/include_usage", Field::kBool}},
       {"model",
        "messages",
        "max_tokens",
        "n",
        "stop",
        "stop_token_ids",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "seed",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "temperature",
        "top_p",
        "chat_template_kwargs",
        "modalities",
        "functions",
        "cache_salt",
        "ignore_eos",
        "guided_regex",
        "reasoning_effort",
        "thinking",
        "metadata",
        "user",
        "truncate_prompt_tokens"}},
      {"OpenAiText",
       "/v1/completions",
       R"({"model":"m","prompt":"hi"})",
       nullptr,
       "/prompt",
       {{"/max_tokens", Field::kInteger, 1, kMaxInt},
        {"/n", Field::kInteger, 1, 16},
        {"/best_of", Field::kInteger, 1, 1},
        {"/logprobs", Field::kInteger, 0, 20},
        {"/seed", Field::kInteger, kMinSeed, kMaxSeed},
        {"/temperature", Field::kNumber, 0, 2},
        {"/top_p", Field::kNumber, 0, 1, false, true},
        {"/stream", Field::kBool},
        {"/skip_special_tokens", Field::kBool},
        {"/echo", Field::kBool}},
       {"model", "prompt", "max_tokens", "n", "best_of", "stop", "stop_token_ids", "logit_bias",
        "logprobs", "seed", "stream", "suffix", "echo", "response_format"}},
      {"Anthropic",
       "/v1/messages",
       R"({"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}],
           "thinking":{"type":"enabled","budget_tokens":9},"tool_choice":{"type":"auto"}})",
       "/messages",
       "/messages/0/content",
       {{"/max_tokens", Field::kInteger, 1, kMaxInt, true},
        {"/top_k", Field::kInteger, 0, kMaxInt},
        {"/thinking/budget_tokens", Field::kInteger, 1, kMaxInt, true},
        {"/temperature", Field::kNumber, 0, 2},
        {"/top_p", Field::kNumber, 0, 1, false, true},
        {"/stream", Field::kBool},
        {"/tool_choice/disable_parallel_tool_use", Field::kBool}},
       {"model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stream",
        "stop_sequences", "thinking", "tools", "tool_choice", "output_config", "context_management",
        "metadata", "container", "mcp_servers", "cache_control"}},
      {"Responses",
       "/v1/responses",
       R"({"model":"m","input":[{"role":"user","content":"hi"}]})",
       "/input",
       "/input/0/content",
       {{"/max_output_tokens", Field::kInteger, 1, kMaxInt},
        {"/top_logprobs", Field::kInteger, 0, 0},
        {"/temperature", Field::kNumber, 0, 2},
        {"/top_p", Field::kNumber, 0, 1, false, true},
        {"/stream", Field::kBool},
        {"/store", Field::kBool},
        {"/parallel_tool_calls", Field::kBool}},
       {"model",
        "input",
        "instructions",
        "max_output_tokens",
        "temperature",
        "top_p",
        "stream",
        "store",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "metadata",
        "include",
        "previous_response_id",
        "truncation",
        "background",
        "conversation",
        "prompt",
        "user",
        "top_logprobs",
        "max_tool_calls",
        "stream_options"}},
  };
  return apis;
}

class RequestExtremes : public ApiFixture, public testing::WithParamInterface<Api> {
 protected:
  RequestExtremes() { Answer("Good day."); }
  void AddRoutes(RouteTable& routes, const ServiceContext& service) override {
    AddOpenAiRoutes(routes, service);
    AddAnthropicRoutes(routes, service);
    AddResponsesRoutes(routes, service);
  }
  const Api& api() const { return GetParam(); }
  // The good body with JSON text of any kind in one place.
  std::string With(const std::string& pointer, const std::string& text) const {
    Json body = Json::parse(api().good);
    body[Pointer(pointer)] = "@here";
    std::string dumped = body.dump();
    return dumped.replace(dumped.find("\"@here\""), 7, text);
  }
  // "" if the body was answered, else the error's message.
  std::string ErrorOf(const std::string& body) {
    const auto begin = std::chrono::steady_clock::now();
    const auto exchange = Ask("POST", api().path, body);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    if (exchange->streams()) return "";
    const HttpResponse& response = exchange->response();
    if (response.status == 200) return "";
    EXPECT_EQ(InternalWordIn(response.body), "") << response.body;
    EXPECT_TRUE(response.status == 400 || response.status == 404) << response.body;
    const Json error = Json::parse(response.body, nullptr, false);
    EXPECT_TRUE(error.is_object() && error["error"].is_object()) << response.body;
    const std::string message = error["error"].value("message", "");
    EXPECT_NE(message, "");
    EXPECT_LT(message.size(), 600u) << message;
    return message;
  }
  void ExpectRefused(const std::string& body, const std::string& what) {
    EXPECT_THAT(ErrorOf(body), HasSubstr(what)) << body.substr(0, 200);
  }
  void ExpectStillServes() { EXPECT_EQ(ErrorOf(api().good), ""); }
};

struct Value {
  const char* text;
  std::optional<Number> number;
  bool whole = false;
};

const Value kValues[] = {
    {"-1", -1, true},
    {"0", 0, true},
    {"-0", 0, true},
    {"1", 1, true},
    {"2147483647", 2147483647.0L, true},
    {"2147483648", 2147483648.0L, true},
    {"-2147483649", -2147483649.0L, true},
    {"4294967296", 4294967296.0L, true},
    {"4294967297", 4294967297.0L, true},
    {"9223372036854775807", 9223372036854775807.0L, true},
    {"9223372036854775808", 9223372036854775808.0L, true},
    {"-9223372036854775808", -9223372036854775808.0L, true},
    {"18446744073709551615", 18446744073709551615.0L, true},
    {"18446744073709551616", 18446744073709551616.0L},
    {"1000000000", 1e9, true},
    {"0.5", 0.5},
    {"1.5", 1.5},
    {"2.0000001", 2.0000001},
    {"1e308", 1e308},
    {"-1e308", -1e308},
    {"5e-324", 5e-324},
    {"\"5\"", {}},
    {"\"\"", {}},
    {"\"1e9\"", {}},
    {"true", {}},
    {"false", {}},
    {"[]", {}},
    {"[1]", {}},
    {"[[[[5]]]]", {}},
    {"{}", {}},
    {"{\"a\":1}", {}},
};

bool IsAccepted(const Field& field, const Value& value) {
  const std::string text = value.text;
  if (field.kind == Field::kBool) return text == "true" || text == "false";
  if (!value.number || (field.kind == Field::kInteger && !value.whole)) return false;
  return *value.number <= field.max && *value.number >= field.min &&
         !(field.min_excluded && static_cast<float>(*value.number) == field.min);
}

TEST_P(RequestExtremes, NumbersAndFlags) {
  for (const Field& field : api().fields) {
    const std::string name =
        std::string(field.pointer).substr(1 + std::string(field.pointer).rfind('/'));
    for (const Value& value : kValues) {
      const std::string error = ErrorOf(With(field.pointer, value.text));
      if (IsAccepted(field, value)) {
        EXPECT_EQ(error, "") << field.pointer << " = " << value.text;
      } else {
        EXPECT_THAT(error, HasSubstr(name)) << field.pointer << " = " << value.text;
      }
    }
    const std::string absent = ErrorOf(With(field.pointer, "null"));
    EXPECT_EQ(absent.empty(), !field.required) << field.pointer << ": " << absent;
    for (const char* text : {"NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", "0x10",
                             ".5", "5.", "1e", "--1", "1_000", "nul", "True", "'5'", "undefined"}) {
      ExpectRefused(With(field.pointer, text), "is not valid JSON");
    }
  }
  ExpectStillServes();
}

// What comes out is an answer or a sentence about that field, whatever the value's type.
TEST_P(RequestExtremes, EveryFieldWithEveryType) {
  for (const char* field : api().all_fields) {
    for (const char* text : {"null", "true", "false", "-1", "0", "1e308", "\"\"", "\"x\"",
                             "\"\\u0000\"", "[]", "[null]", "[[]]", "[{}]", "[0]", "[\"\"]", "{}",
                             "{\"type\":0}", "{\"type\":\"x\"}", "{\"\":{\"\":[]}}"}) {
      const std::string error = ErrorOf(With(std::string("/") + field, text));
      EXPECT_THAT(error, testing::AnyOf("", HasSubstr(field))) << text;
    }
  }
  for (const char* unknown : {"n_discard", "chat_template", "prompt_embeds", "media", "__proto__",
                              "constructor", "a.b", "\xc3\xa4", ""}) {
    Json body = Json::parse(api().good);
    body[unknown] = 1;
    EXPECT_THAT(ErrorOf(body.dump()),
                testing::AnyOf(HasSubstr("is not a field"), HasSubstr("is not supported")));
  }
  ExpectStillServes();
}

TEST_P(RequestExtremes, TooMuchOfSomething) {
  const auto list = [](size_t count, const std::string& entry) {
    std::string text = "[";
    for (size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + entry;
    return text + "]";
  };
  const std::string message = R"({"role":"user","content":"x"})";
  if (api().messages != nullptr)
    ExpectRefused(With(api().messages, list(4097, message)), "at most 4096");
  if (api().messages != nullptr)
    ExpectRefused(With(api().messages, list(1'000'000, "{}")), "at most 4096");
  ExpectRefused(With(api().text, list(1'100'000, "{}")), "holds more than 1048576 values");
  ExpectRefused(With(api().text, list(3'000'000, "0")), "holds more than");
  ExpectRefused(With(api().text, "\"" + std::string(9 << 20, 'x') + "\""), "bytes long");
  ExpectRefused(With(api().text, std::string(100'000, '[') + std::string(100'000, ']')),
                "nested too deeply");
  std::string deep;  // never closed
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  ExpectRefused(With(api().text, deep), "nested too deeply");
  std::string wide = "{\"a\":0";
  for (int i = 0; i < 1024; ++i) wide += ",\"" + std::to_string(i) + "\":0";
  ExpectRefused(With("/metadata", wide + "}"), "too many keys");
  if (api().messages != nullptr) ExpectRefused(With("/tools", list(513, "{}")), "tools");
  ExpectRefused(With("/" + std::string(100'000, 'k'), "1"),
                "is not a field that this server knows");
  ExpectStillServes();
}

class OpenAiExtremes : public RequestExtremes {};

TEST_P(OpenAiExtremes, Lists) {
  const auto strings = [](int count, const std::string& text) {
    return Json(std::vector<std::string>(count, text)).dump();
  };
  ExpectRefused(With("/stop", strings(100'000, "x")), "stop");
  ExpectRefused(With("/stop", strings(1, "")), "stop[0]");
  ExpectRefused(With("/stop", strings(1, std::string(257, 'x'))), "stop[0]");
  ExpectRefused(With("/stop", "\"\""), "stop");
  ExpectRefused(With("/stop_token_ids", "[-1]"), "stop_token_ids[0]");
  ExpectRefused(With("/stop_token_ids", "[4294967297]"), "stop_token_ids[0]");
  ExpectRefused(With("/stop_token_ids", Json(std::vector<int>(65, 1)).dump()), "stop_token_ids");
  for (const char* id : {"-1", "99999", "4294967297", "18446744073709551617", "1.0", "01", "+1",
                         " 1", "1e0", "x", ""}) {
    ExpectRefused(With("/logit_bias", Json{{id, 1}}.dump()), "logit_bias");
  }
  Json many = Json::object();
  for (int i = 0; i < 1025; ++i) many[std::to_string(i)] = 1;
  EXPECT_NE(ErrorOf(With("/logit_bias", many.dump())), "");
  ExpectStillServes();
}

TEST_P(OpenAiExtremes, PromptsOfIds) {
  if (api().messages != nullptr) return;
  for (const char* prompt : {"[-1]", "[99999]", "[4294967297]", "[1.5]", "[null]", "[[]]", "[]",
                             "[[1],[-1]]", "[\"x\",1]", "[1,\"x\"]", "[[[1]]]", "\"\"", "[\"\"]"}) {
    ExpectRefused(With("/prompt", prompt), "prompt");
  }
  ExpectRefused(With("/prompt", Json(std::vector<std::string>(17, "x")).dump()), "prompt");
  Json echo = Json::parse(api().good);
  echo["echo"] = true;
  echo["prompt"] = {255, 254, 0, 192};  // no UTF-8
  EXPECT_EQ(ErrorOf(echo.dump()), "");
  ExpectStillServes();
}

TEST_P(RequestExtremes, TextThatIsNoText) {
  for (const char* text :
       {R"("\ud800")", R"("\udc00")", R"("\udc00\ud800")", R"("\ud800x")", R"("\ud800A")",
        "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"",
        "\"\n\"", R"("\x41")", R"("\u00g0")", "\"open"}) {
    ExpectRefused(With(api().text, text), "is not valid JSON");
  }
  ExpectRefused(With(api().text, std::string("\"a\0b\"", 5)), "is not valid JSON");
  // Escaped it is a character as any other.
  EXPECT_EQ(ErrorOf(With(api().text, R"("a\u0000b\ud83d\ude00\uffff")")), "");
  ExpectRefused(With("/model", R"("m\u0000")"), "model is");
  ExpectStillServes();
}

TEST_P(RequestExtremes, BodiesThatAreNoRequest) {
  const std::string good = api().good;
  for (const std::string& body : {std::string(),
                                  std::string(" "),
                                  std::string("null"),
                                  std::string("[]"),
                                  std::string("1"),
                                  std::string("\"x\""),
                                  std::string("{"),
                                  std::string("}"),
                                  std::string("{}"),
                                  good + "x",
                                  good + good,
                                  good + std::string(1, '\0'),
                                  good + std::string("\0{", 2),
                                  std::string("\xef\xbb\xbf\xef\xbb\xbf") + good,
                                  good.substr(0, good.size() - 1),
                                  "/**/" + good,
                                  std::string("{'model':'m'}"),
                                  good + ",",
                                  std::string("\xff\xfe{\0}\0", 6),
                                  std::string(1000, '\0')}) {
    EXPECT_NE(ErrorOf(body), "") << body;
  }
  ExpectRefused(R"({"model":"m","model":"m"})", "the key \"model\" twice");
  ExpectRefused(With(api().text, R"([{"type":"text","type":"text"}])"), "twice");
  ExpectStillServes();
}

INSTANTIATE_TEST_SUITE_P(OpenAi, OpenAiExtremes, testing::Values(Apis()[0], Apis()[1]),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(All, RequestExtremes, testing::ValuesIn(Apis()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tandem
