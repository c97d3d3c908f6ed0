// /v1/messages over a scripted engine: what a request becomes, what an answer looks like.
#include "service/api/anthropic_routes.h"

#include "service/access/request_log.h"
#include "service/api/anthropic_answer.h"
#include "service/api/anthropic_request.h"
#include "service/api/call_memory.h"
#include "service/api/sealed_reasoning.h"
#include "tests/service/api_fixture.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr char kHello[] =
    R"({"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hello"}]})";
constexpr char kCall[] =
    "Let me see</think>Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:3"
    "<|tool_call_argument_begin|>{\"b\":  1.0, \"a\": \"x\"}<|tool_call_end|>"
    "<|tool_calls_section_end|>";

Json Hello() { return Json::parse(kHello); }
Json With(const char* key, Json value) {
  Json body = Hello();
  body[key] = std::move(value);
  return body;
}
Json Tools() {
  return Json::parse(R"([{"name":"f","description":"d","input_schema":{"type":"object"}}])");
}

class AnthropicTest : public ApiFixture {
 protected:
  AnthropicTest() { Answer("Good day."); }
  void AddRoutes(RouteTable& routes, const ServiceContext& service) override {
    AddAnthropicRoutes(routes, service);
  }
  std::shared_ptr<KeptExchange> Create(const Json& body) {
    return Ask("POST", "/v1/messages", body.dump());
  }
  // The prompt that a request becomes.
  std::string PromptOf(const Json& body) {
    const auto exchange = Create(body);
    EXPECT_EQ(exchange->response().status, 200) << exchange->response().body;
    return prompt_;
  }
  std::string ErrorOf(const Json& body, int status = 400) {
    const auto exchange = Create(body);
    EXPECT_EQ(exchange->response().status, status) << body << exchange->response().body;
    const Json error = BodyOf(*exchange);
    EXPECT_EQ(error["type"], "error");
    return error["error"].value("message", "");
  }
};

TEST_F(AnthropicTest, AWholeAnswer) {
  const auto exchange = Create(Hello());
  Json message = BodyOf(*exchange);
  EXPECT_THAT(message["id"].get<std::string>(), testing::MatchesRegex("msg_[0-9a-z]{24}"));
  message["id"] = "";
  EXPECT_EQ(message.dump(), R"({"id":"","type":"message","role":"assistant","model":"m",)"
                            R"("content":[{"type":"text","text":"Good day."}],)"
                            R"("stop_reason":"end_turn","stop_sequence":null,)"
                            R"("usage":{"input_tokens":25,"cache_creation_input_tokens":0,)"
                            R"("cache_read_input_tokens":0,"output_tokens":9,)"
                            R"("output_tokens_details":{"thinking_tokens":0}}})");
  EXPECT_TRUE(exchange->log().generated);
  EXPECT_EQ(exchange->log().finish, "stop");
}

TEST_F(AnthropicTest, AStream) {
  Answer(kCall);
  Json body = With("thinking", {{"type", "adaptive"}});
  body["stream"] = true;
  body["tools"] = Tools();
  std::vector<std::string> kinds;
  std::string thinking, text, arguments, signature, id;
  for (const Json& event : EventsOf(*Create(body))) {
    const std::string type = event["type"];
    if (type == "content_block_delta") {
      const Json& delta = event["delta"];
      if (delta["type"] == "thinking_delta") thinking += delta["thinking"];
      if (delta["type"] == "signature_delta") signature += delta["signature"];
      if (delta["type"] == "text_delta") text += delta["text"];
      if (delta["type"] == "input_json_delta") arguments += delta["partial_json"];
      const std::string kind =
          "delta " + event["index"].dump() + " " + delta["type"].get<std::string>();
      if (kinds.back() != kind) kinds.push_back(kind);
      continue;
    }
    if (type == "content_block_start" && event["content_block"]["type"] == "tool_use")
      id = event["content_block"]["id"];
    kinds.push_back(event.contains("index") ? type + " " + event["index"].dump() : type);
  }
  EXPECT_THAT(kinds, testing::ElementsAre("message_start", "content_block_start 0",
                                          "delta 0 thinking_delta", "delta 0 signature_delta",
                                          "content_block_stop 0", "content_block_start 1",
                                          "delta 1 text_delta", "content_block_stop 1",
                                          "content_block_start 2", "delta 2 input_json_delta",
                                          "content_block_stop 2", "message_delta", "message_stop"));
  EXPECT_EQ(thinking, "Let me see");
  EXPECT_EQ(signature, "tandem");
  EXPECT_EQ(text, "Well.");
  EXPECT_EQ(arguments, "{\"b\":  1.0, \"a\": \"x\"}");
  EXPECT_THAT(id, testing::MatchesRegex("toolu_[0-9a-z]{16}_3"));
}

TEST_F(AnthropicTest, GoldenEvents) {
  Json body = Hello();
  body["stream"] = true;
  std::string stream = Create(body)->stream();
  const size_t id = stream.find("msg_");
  ASSERT_NE(id, std::string::npos);
  stream.replace(id, 28, "ID");
  // How the text falls into deltas is a matter of time.
  const size_t first = stream.find("event: content_block_delta");
  const size_t stop = stream.find("event: content_block_stop");
  stream.replace(first, stop - first, "DELTAS\n");
  EXPECT_EQ(
      stream,
      "event: message_start\n"
      R"(data: {"type":"message_start","message":{"id":"ID","type":"message","role":"assistant",)"
      R"("model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":)"
      R"({"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,)"
      R"("output_tokens":0}}})"
      "\n\nevent: content_block_start\n"
      R"(data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}})"
      "\n\nDELTAS\nevent: content_block_stop\n"
      R"(data: {"type":"content_block_stop","index":0})"
      "\n\nevent: message_delta\n"
      R"(data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},)"
      R"("usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,)"
      R"("output_tokens":9,"output_tokens_details":{"thinking_tokens":0}}})"
      "\n\nevent: message_stop\n"
      R"(data: {"type":"message_stop"})"
      "\n\n");
}

TEST_F(AnthropicTest, Prompts) {
  const std::string user = "<|im_user|>user<|im_middle|>hello<|im_end|>";
  const std::string instant = "<|im_assistant|>assistant<|im_middle|><think></think>";
  const std::string thinks = "<|im_assistant|>assistant<|im_middle|><think>";
  EXPECT_EQ(PromptOf(Hello()), user + instant);
  EXPECT_EQ(PromptOf(With("thinking", {{"type", "disabled"}})), user + instant);
  EXPECT_EQ(PromptOf(With("thinking", {{"type", "adaptive"}})), user + thinks);
  EXPECT_EQ(PromptOf(With("thinking", {{"type", "enabled"}, {"budget_tokens", 1024}})),
            user + thinks);
  EXPECT_EQ(PromptOf(With("system", "Be good.")),
            "<|im_system|>system<|im_middle|>Be good.<|im_end|>" + user + instant);
  EXPECT_EQ(PromptOf(With(
                "system",
                {{{"type", "text"}, {"text", "A"}},
                 {{"type", "text"}, {"text", "B"}, {"cache_control", {{"type", "ephemeral"}}}}})),
            "<|im_system|>system<|im_middle|>A\n\nB<|im_end|>" + user + instant);
  // Continued.
  Json prefilled = Hello();
  prefilled["messages"].push_back({{"role", "assistant"}, {"content", "Good"}});
  EXPECT_EQ(PromptOf(prefilled),
            user + "<|im_assistant|>assistant<|im_middle|><think></think>Good");
}

TEST_F(AnthropicTest, VolatileFieldsOfTheSystemPromptGo) {
  const Json billing = {{{"type", "text"}, {"text", "x-anthropic-billing-header: cch=1a2b3;"}},
                        {{"type", "text"}, {"text", "Be good."}}};
  EXPECT_EQ(PromptOf(With("system", billing)), PromptOf(With("system", "Be good.")));
  policy_.normalise_volatile = false;
  Answer("ok");
  EXPECT_THAT(PromptOf(With("system", billing)), HasSubstr("cch=1a2b3;\n\nBe good."));
}

// A conversation comes back as clients of the API send it; the prompt is the one that was
// generated, byte for byte, although the arguments' text and the model's ids have been lost on the
// way.
TEST_F(AnthropicTest, ToolLoopsAreRenderedAsGenerated) {
  Answer(kCall);
  Json body = With("thinking", {{"type", "adaptive"}});
  body["tools"] = Tools();
  const std::string first = PromptOf(body);
  const Json answer = BodyOf(*Create(body));
  ASSERT_EQ(answer["stop_reason"], "tool_use");
  Json content = answer["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[2]["input"].dump(), R"({"b":1.0,"a":"x"})");
  content[2]["input"] = Json::parse(R"({"a":"x","b":1})");  // a client's way of writing it
  const std::string id = content[2]["id"];
  body["messages"].push_back({{"role", "assistant"}, {"content", content}});
  body["messages"].push_back(
      {{"role", "user"},
       {"content",
        {{{"type", "text"}, {"text", "And?"}},
         {{"type", "tool_result"}, {"tool_use_id", id}, {"content", "42"}}}}});
  EXPECT_EQ(PromptOf(body), first + kCall +
                                "<|im_end|><|im_system|>tool<|im_middle|>## Return of functions.f:3"
                                "\n42<|im_end|><|im_user|>user<|im_middle|>And?<|im_end|>"
                                "<|im_assistant|>assistant<|im_middle|><think>");
  // Another caller's calls are not looked into.
  caller_ = "another";
  EXPECT_THAT(PromptOf(body),
              HasSubstr(R"(functions.f:3<|tool_call_argument_begin|>{"a": "x", "b": 1})"));
}

TEST_F(AnthropicTest, OmittedThinkingComesBackSealed) {
  Answer(kCall);
  Json body = With("thinking", {{"type", "adaptive"}, {"display", "omitted"}});
  body["tools"] = Tools();
  const Json answer = BodyOf(*Create(body));
  const Json& thinking = answer["content"][0];
  EXPECT_EQ(thinking["thinking"], "");
  body["messages"].push_back({{"role", "assistant"}, {"content", answer["content"]}});
  EXPECT_THAT(PromptOf(body), HasSubstr("<think>Let me see</think>Well."));
  EXPECT_EQ(OpenReasoning(thinking["signature"].get<std::string>()), "Let me see");
  EXPECT_EQ(OpenReasoning("tandem-reasoning-1.!!"), std::nullopt);
  EXPECT_EQ(OpenReasoning("tandem-reasoning-1./w=="), std::nullopt);  // no UTF-8
  EXPECT_EQ(OpenReasoning("EqoBCkgIARAB"), std::nullopt);
}

// What an answer of two tokens, asked for with at most three, is told to have stopped for.
Json Stopped(ChatFinish finish, const std::string& stop_string = "", int32_t tokens = 2) {
  const auto answer = MakeAnthropicAnswer({.id = "msg_1",
                                           .model = "m",
                                           .caller = "",
                                           .memory = std::make_shared<CallMemory>(1000),
                                           .max_tokens = 3});
  answer->Begin(10);
  ChatUpdate last;
  last.pieces = {{AnswerPiece::Kind::kText, "Good ", 0, "", ""}};
  last.finish = finish;
  last.stop_string = stop_string;
  last.usage.usage = {.prompt_tokens = 10, .cached_tokens = 8, .completion_tokens = tokens};
  const std::string events = answer->Push(last);
  const Json message = Json::parse(answer->Whole().body);
  EXPECT_THAT(events, HasSubstr("\"delta\":{\"stop_reason\":" + message["stop_reason"].dump()));
  EXPECT_EQ(message["usage"]["input_tokens"], 2);  // without what was cached
  EXPECT_EQ(message["usage"]["cache_read_input_tokens"], 8);
  return message;
}

TEST_F(AnthropicTest, ReasonsToStop) {
  EXPECT_EQ(BodyOf(*Create(With("max_tokens", 4)))["stop_reason"], "max_tokens");
  EXPECT_EQ(Stopped(ChatFinish::kStop)["stop_reason"], "end_turn");
  EXPECT_EQ(Stopped(ChatFinish::kToolCalls)["stop_reason"], "tool_use");
  EXPECT_EQ(Stopped(ChatFinish::kLength, "", 3)["stop_reason"], "max_tokens");
  EXPECT_EQ(Stopped(ChatFinish::kLength)["stop_reason"], "model_context_window_exceeded");
  EXPECT_EQ(Stopped(ChatFinish::kStop, "day")["stop_reason"], "stop_sequence");
  EXPECT_EQ(Stopped(ChatFinish::kStop, "day")["stop_sequence"], "day");
}

// A call that max_tokens cut off has no object yet.
TEST_F(AnthropicTest, ACallThatWasCutOff) {
  Answer(
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
      "<|tool_call_argument_begin|>{\"a\": 1, \"b");
  Json body = With("tools", Tools());
  body["max_tokens"] = 24;
  const Json answer = BodyOf(*Create(body));
  EXPECT_EQ(answer["stop_reason"], "max_tokens");
  EXPECT_EQ(answer["content"][0]["input"], Json::object());
}

// What a model can be talked into writing.
TEST_F(AnthropicTest, ArgumentsNestedWithoutEndAreNoObject) {
  for (const int depth : {500, 100'000}) {
    Answer(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
        "<|tool_call_argument_begin|>{\"a\": " +
        std::string(depth, '[') + std::string(depth, ']') +
        "}<|tool_call_end|><|tool_calls_section_end|>");
    Json body = With("tools", Tools());
    body["max_tokens"] = 1'000'000;
    const Json input = BodyOf(*Create(body))["content"][0]["input"];
    EXPECT_EQ(input.contains("a"), depth == 500) << depth;
    body["stream"] = true;
    const auto streamed = Create(body);
    EXPECT_THAT(streamed->stream(), HasSubstr("message_stop"));
  }
}

TEST_F(AnthropicTest, CountsTheTokensOfThePrompt) {
  Json body = With("system", "Be good.");
  body["tools"] = Tools();
  const std::string prompt = PromptOf(body);
  body.erase("max_tokens");
  const Json counted = BodyOf(*Ask("POST", "/v1/messages/count_tokens", body.dump()));
  EXPECT_EQ(counted, (Json{{"input_tokens", engine_->tokenizer().Encode(prompt, true).size()}}));
}

TEST_F(AnthropicTest, FieldsWithoutEffect) {
  const std::string plain = PromptOf(Hello());
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"metadata", {{"user_id", "u"}}},
           {"service_tier", "auto"},
           {"cache_control", {{"type", "ephemeral"}}},
           {"speed", "standard"},
           {"output_config", {{"effort", "high"}}},
           {"container", nullptr},
           {"mcp_servers", Json::array()},
           {"temperature", 0.5},
           {"top_k", 40},
           {"tool_choice", {{"type", "none"}}},
           {"context_management", {{"edits", {{{"type", "clear_thinking_20251015"}}}}}}}) {
    EXPECT_EQ(PromptOf(With(key, value)), plain) << key;
  }
}

TEST_F(AnthropicTest, FaultyFieldsAreNamed) {
  const Json image = {{"type", "image"},
                      {"source", {{"type", "url"}, {"url", "http://169.254.169.254/"}}}};
  const auto user = [](Json blocks) {
    return Json::array({{{"role", "user"}, {"content", std::move(blocks)}}});
  };
  for (const auto& [key, value, expected] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"max_tokens", nullptr, "max_tokens is missing; expected a number of tokens"},
           {"max_tokens", 0, "max_tokens is 0; expected a whole number from 1 to 2147483647"},
           {"max_tokens", 1.5, "max_tokens is 1.5; expected"},
           {"max_tokens", 1e308, "max_tokens is 1e+308; expected"},
           {"max_tokens", "5", "max_tokens is \"5\"; expected"},
           {"max_tokens", UINT64_MAX, "max_tokens is 18446744073709551615; expected"},
           {"temperature", -1, "temperature is -1; expected a number from 0 to 2"},
           {"top_p", "x", "top_p is \"x\""},
           {"top_k", -1, "top_k is -1"},
           {"stream", 1, "stream is 1; expected true or false"},
           {"model", 5, "model is 5; expected a string"},
           {"messages", Json::array(), "messages is empty"},
           {"messages", "hi", "messages is empty"},
           {"messages", {1}, "messages[0] is 1; expected an object"},
           {"messages", {{{"role", "robot"}, {"content", "x"}}}, "messages[0].role is \"robot\""},
           {"messages", {{{"role", "user"}}}, "messages[0].content is missing"},
           {"messages", user(5), "messages[0].content is no content"},
           {"messages", user({image}),
            "messages[0].content[0].type is \"image\"; expected \"text\""
            " or \"tool_result\" (this server reads text only)"},
           {"messages", user({{{"type", "text"}}}), "messages[0].content[0].text is missing"},
           {"messages", user({{{"type", "text"}, {"text", "x"}, {"colour", 1}}}),
            "messages[0].content[0].colour is not a field that this server knows"},
           {"messages", user({{{"type", "tool_result"}, {"tool_use_id", "toolu_1"}}}),
            "messages[0].content[0].tool_use_id is \"toolu_1\"; expected the id of an earlier"},
           {"system", {{{"type", "image"}}}, "system[0].type is \"image\""},
           {"stop_sequences", {""}, "stop_sequences[0] is of 0 bytes"},
           {"stop_sequences", Json(17, "x"), "stop_sequences"},
           {"thinking", {{"type", "enabled"}}, "thinking.budget_tokens is missing"},
           {"thinking", {{"type", "between_tools"}}, "thinking.type is \"between_tools\""},
           {"thinking", true, "thinking is true; expected an object"},
           {"tools",
            {{{"type", "web_search_20250305"}, {"name", "web_search"}}},
            "tools[0].type is \"web_search_20250305\"; expected \"custom\""},
           {"tools", {{{"name", "f"}}}, "tools[0].input_schema is missing"},
           {"tool_choice", {{"type", "any"}}, "tool_choice asks for a call"},
           {"tool_choice", {{"type", "tool"}}, "tool_choice.name is missing"},
           {"container", "c", "container is not supported"},
           {"mcp_servers", {1}, "mcp_servers is not supported"},
           {"context_management",
            {{"edits", {{{"type", "clear_tool_uses_20250919"}}}}},
            "context_management.edits[0].type is \"clear_tool_uses_20250919\""},
           {"frobnicate", 1, "frobnicate is not a field that this server knows"},
           {"n", 2, "n is not a field that this server knows"}}) {
    EXPECT_THAT(ErrorOf(With(key, value)), HasSubstr(expected)) << key;
  }
  EXPECT_THAT(ErrorOf(With("model", "other"), 404),
              HasSubstr("model is \"other\"; expected \"m\""));
  EXPECT_EQ(engine_->finished().size(), 0u);
}

TEST_F(AnthropicTest, BodiesThatAreNoRequest) {
  for (const char* body : {"", "[]", "null", "{", "\xff", "{\"model\":\"m\",\"model\":\"m\"}"}) {
    const auto exchange = Ask("POST", "/v1/messages", body);
    EXPECT_EQ(exchange->response().status, 400) << body;
    EXPECT_EQ(BodyOf(*exchange)["error"]["type"], "invalid_request_error") << body;
  }
}

TEST(AnthropicErrors, StatusesAndTypes) {
  const auto told = [](absl::Status error, const char* code = "") {
    if (*code != 0) error.SetPayload(kErrorCodePayload, absl::Cord(code));
    const HttpResponse response = ToAnthropicError(error);
    return std::to_string(response.status) + " " +
           Json::parse(response.body)["error"]["type"].get<std::string>();
  };
  EXPECT_EQ(told(absl::InvalidArgumentError("x")), "400 invalid_request_error");
  EXPECT_EQ(told(absl::UnauthenticatedError("x")), "401 authentication_error");
  EXPECT_EQ(told(absl::PermissionDeniedError("x")), "403 permission_error");
  EXPECT_EQ(told(absl::NotFoundError("x")), "404 not_found_error");
  EXPECT_EQ(told(absl::ResourceExhaustedError("x")), "529 overloaded_error");
  EXPECT_EQ(told(absl::ResourceExhaustedError("x"), "rate_limit_exceeded"), "429 rate_limit_error");
  EXPECT_EQ(told(absl::ResourceExhaustedError("x"), "task_budget_exceeded"),
            "429 rate_limit_error");
  EXPECT_EQ(told(absl::UnavailableError("x")), "529 overloaded_error");
  EXPECT_EQ(told(absl::DeadlineExceededError("x")), "504 timeout_error");
  EXPECT_EQ(told(absl::InternalError("x")), "500 api_error");
}

TEST_F(AnthropicTest, AFullServerSaysWhenToComeBack) {
  Script({.answer = [](const std::string&) { return std::string("x"); }, .max_queue = 0});
  const auto exchange = Create(Hello());
  EXPECT_EQ(exchange->response().status, 529);
  EXPECT_THAT(exchange->response().headers, testing::Contains(testing::Pair("Retry-After", "2")));
}

TEST_F(AnthropicTest, AClientThatLeavesEndsItsRequest) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  Json body = With("max_tokens", 1000000);
  body["stream"] = true;
  const auto leaves = Start("POST", "/v1/messages", body.dump());
  ASSERT_TRUE(leaves->WaitFor("text_delta"));
  leaves->Leave();
  EXPECT_TRUE(engine_->HasFinished(1));
  const auto deaf = Start("POST", "/v1/messages", body.dump());
  ASSERT_TRUE(deaf->WaitFor("text_delta"));
  deaf->StopReading();
  EXPECT_TRUE(engine_->HasFinished(2));
  EXPECT_THAT(engine_->finished(), testing::Each(FinishReason::kCancelled));
}

TEST_F(AnthropicTest, ADeadlineEndsAStreamWithAnError) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  Json body = With("max_tokens", 1000000);
  body["stream"] = true;
  const auto exchange = Start("POST", "/v1/messages", body.dump(), {{"tandem-deadline-ms", "50"}});
  ASSERT_TRUE(exchange->WaitForEnd());
  const Json last = EventsOf(*exchange).back();
  EXPECT_EQ(last["type"], "error");
  EXPECT_EQ(last["error"]["type"], "timeout_error");
}

TEST(CallIds, NumbersComeBack) {
  for (const char* id : {"functions.f:0", "functions.a.b-c:12", "functions.x:y:999999"}) {
    const std::string made = MakeToolUseId(id);
    EXPECT_THAT(made, testing::MatchesRegex("[a-zA-Z0-9_-]+"));
    EXPECT_LE(made.size(), 64u);
    const std::string native = id;
    const std::string name = native.substr(10, native.rfind(':') - 10);
    EXPECT_EQ(NativeCallIdOf(made, name), native);
  }
  for (const char* odd : {"f:0", "functions.f", "functions.f:007", "functions.f:1234567", ""}) {
    const std::string made = MakeToolUseId(odd);
    EXPECT_EQ(NativeCallIdOf(made, "f"), made) << "renumbered with those of other styles";
  }
  for (const char* foreign : {"toolu_01A09q90qw90lq917835lq9", "call_abc_1", "toolu_", "",
                              "toolu_0123456789abcdef_", "toolu_0123456789abcdef_1x"}) {
    EXPECT_EQ(NativeCallIdOf(foreign, "f"), foreign);
  }
  EXPECT_NE(MakeToolUseId("functions.f:0"), MakeToolUseId("functions.f:0"));
}

TEST(CallMemory, KeepsTheLatestUsed) {
  CallMemory memory(3 * 400);
  const std::string large(200, ' ');
  const auto text = [&](int i) { return "{\"a\":" + std::to_string(i) + large + "}"; };
  const auto has = [&](int i) {
    return memory.Recall("me", std::to_string(i), Json{{"a", i}}) == text(i);
  };
  for (int i = 0; i < 3; ++i) memory.Remember("me", std::to_string(i), text(i));
  EXPECT_TRUE(has(0));
  memory.Remember("me", "3", text(3));
  EXPECT_TRUE(has(0));
  EXPECT_FALSE(has(1));
  EXPECT_TRUE(has(3));
  memory.Remember("me", "huge", std::string(4000, ' '));
  EXPECT_TRUE(has(3));
  EXPECT_LE(memory.bytes(), 3 * 400);
  EXPECT_FALSE(memory.Recall("you", "3", Json{{"a", 3}}));
  EXPECT_FALSE(memory.Recall("me", "3", Json{{"a", 4}}));  // the client changed it
}

}  // namespace
}  // namespace tandem
