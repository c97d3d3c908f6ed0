// /v1/responses over a scripted engine: what a request becomes, what an answer looks like, what is
// kept of it.
#include "service/api/responses_routes.h"

#include "service/api/response_store.h"
#include "tests/service/api_fixture.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr char kCall[] =
    "Let me see</think>Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
    "<|tool_call_argument_begin|>{\"a\":  1.0}<|tool_call_end|><|tool_calls_section_end|>";
constexpr char kUser[] = "<|im_user|>user<|im_middle|>hello<|im_end|>";
constexpr char kThinks[] = "<|im_assistant|>assistant<|im_middle|><think>";

Json Hello() { return {{"model", "m"}, {"input", "hello"}}; }
Json With(const char* key, Json value) {
  Json body = Hello();
  body[key] = std::move(value);
  return body;
}
Json Tools() {
  return Json::parse(
      R"([{"type":"function","name":"f","parameters":{"type":"object"},"strict":null}])");
}
Json Message(const char* role, const char* text) {
  return {
      {"type", "message"}, {"role", role}, {"content", {{{"type", "input_text"}, {"text", text}}}}};
}

class ResponsesTest : public ApiFixture {
 protected:
  ResponsesTest() { Answer("So</think>Good day."); }
  void AddRoutes(RouteTable& routes, const ServiceContext& service) override {
    AddResponsesRoutes(routes, service);
  }
  std::shared_ptr<KeptExchange> Create(const Json& body) {
    return Ask("POST", "/v1/responses", body.dump());
  }
  std::string PromptOf(const Json& body) {
    const auto exchange = Create(body);
    EXPECT_EQ(exchange->response().status, 200) << exchange->response().body;
    return prompt_;
  }
};

TEST_F(ResponsesTest, AWholeAnswer) {
  const Json response = BodyOf(*Create(With("metadata", {{"k", "v"}})));
  EXPECT_THAT(response["id"].get<std::string>(), testing::MatchesRegex("resp_[0-9a-z]{32}"));
  EXPECT_EQ(response["object"], "response");
  EXPECT_EQ(response["status"], "completed");
  EXPECT_EQ(response["metadata"], (Json{{"k", "v"}}));
  EXPECT_EQ(response["text"], (Json{{"format", {{"type", "text"}}}}));
  EXPECT_EQ(response["tool_choice"], "auto");
  EXPECT_EQ(response["tools"], Json::array());
  ASSERT_EQ(response["output"].size(), 2u);
  EXPECT_EQ(response["output"][0]["type"], "reasoning");
  EXPECT_EQ(response["output"][0]["content"],
            Json::parse(R"([{"type":"reasoning_text","text":"So"}])"));
  EXPECT_EQ(response["output"][1]["role"], "assistant");
  EXPECT_EQ(response["output"][1]["status"], "completed");
  EXPECT_EQ(
      response["output"][1]["content"],
      Json::parse(R"([{"type":"output_text","text":"Good day.","annotations":[],"logprobs":[]}])"));
  EXPECT_EQ(
      response["usage"].dump(),
      R"({"input_tokens":24,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},)"
      R"("output_tokens":12,"output_tokens_details":{"reasoning_tokens":2},)"
      R"("total_tokens":36})");
}

TEST_F(ResponsesTest, AStream) {
  Answer(kCall);
  Json body = With("tools", Tools());
  body["stream"] = true;
  const auto events = EventsOf(*Create(body));
  std::vector<std::string> kinds;
  std::map<std::string, std::string> deltas;
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i]["sequence_number"], i);
    const std::string type = events[i]["type"].get<std::string>().substr(9);
    if (type.ends_with(".delta")) deltas[type] += events[i]["delta"].get<std::string>();
    const std::string kind =
        events[i].contains("output_index") ? type + " " + events[i]["output_index"].dump() : type;
    if (kinds.empty() || kinds.back() != kind) kinds.push_back(kind);
  }
  EXPECT_THAT(kinds,
              testing::ElementsAre(
                  "created", "in_progress", "output_item.added 0", "content_part.added 0",
                  "reasoning_text.delta 0", "reasoning_text.done 0", "content_part.done 0",
                  "output_item.done 0", "output_item.added 1", "content_part.added 1",
                  "output_text.delta 1", "output_text.done 1", "content_part.done 1",
                  "output_item.done 1", "output_item.added 2", "function_call_arguments.delta 2",
                  "function_call_arguments.done 2", "output_item.done 2", "completed"));
  EXPECT_EQ(deltas["reasoning_text.delta"], "Let me see");
  EXPECT_EQ(deltas["output_text.delta"], "Well.");
  EXPECT_EQ(deltas["function_call_arguments.delta"], "{\"a\":  1.0}");
  const Json& call = events.back()["response"]["output"][2];
  EXPECT_EQ(call["call_id"], "functions.f:0");
  EXPECT_EQ(call["arguments"], "{\"a\":  1.0}");
  // Every item is told the same way each time.
  for (const Json& event : events) {
    if (event["type"] != "response.output_item.done") continue;
    EXPECT_EQ(event["item"], events.back()["response"]["output"][event["output_index"].get<int>()]);
  }
}

TEST_F(ResponsesTest, Prompts) {
  EXPECT_EQ(PromptOf(Hello()), std::string(kUser) + kThinks);
  EXPECT_EQ(PromptOf(With("reasoning", {{"effort", "none"}})),
            std::string(kUser) + kThinks + "</think>");
  EXPECT_EQ(PromptOf(With("reasoning", {{"effort", "high"}})), std::string(kUser) + kThinks);
  EXPECT_EQ(PromptOf(With("instructions", "Be good.")),
            std::string("<|im_system|>system<|im_middle|>Be good.<|im_end|>") + kUser + kThinks);
  EXPECT_EQ(PromptOf(With("input", {Message("developer", "Be good."), Message("user", "hello")})),
            std::string("<|im_system|>system<|im_middle|>Be good.<|im_end|>") + kUser + kThinks);
  EXPECT_EQ(PromptOf(With("input", {{{"role", "user"}, {"content", "hello"}}})),
            std::string(kUser) + kThinks);
  policy_.thinking_default = false;
  Answer("ok");
  EXPECT_EQ(PromptOf(Hello()), std::string(kUser) + kThinks + "</think>");
}

// By the output items sent back, and by previous_response_id: the same prompt, byte for byte as it
// was generated.
TEST_F(ResponsesTest, ToolLoopsAreRenderedAsGenerated) {
  Answer(kCall);
  Json body = With("tools", Tools());
  const std::string first = PromptOf(body);
  const Json response = BodyOf(*Create(body));
  const Json result = {
      {"type", "function_call_output"}, {"call_id", "functions.f:0"}, {"output", "42"}};
  const std::string expected = first + kCall +
                               "<|im_end|><|im_system|>tool<|im_middle|>## Return of functions.f:0"
                               "\n42<|im_end|>" +
                               kThinks;
  body["previous_response_id"] = response["id"];
  body["input"] = {result};
  EXPECT_EQ(PromptOf(body), expected);

  body.erase("previous_response_id");
  body["input"] = {Message("user", "hello")};
  for (const Json& item : response["output"]) body["input"].push_back(item);
  body["input"].push_back(result);
  EXPECT_EQ(PromptOf(body), expected);

  // Reasoning that a client may bring back, but not read.
  body["input"] = "hello";
  body["include"] = {"reasoning.encrypted_content"};
  Json sealed = BodyOf(*Create(body))["output"];
  sealed[0].erase("content");
  body["input"] = {Message("user", "hello")};
  for (const Json& item : sealed) body["input"].push_back(item);
  body["input"].push_back(result);
  EXPECT_EQ(PromptOf(body), expected);
}

TEST_F(ResponsesTest, InstructionsAreOfOneRequest) {
  const Json response = BodyOf(*Create(With("instructions", "Be good.")));
  Json body = With("previous_response_id", response["id"]);
  body["input"] = "more";
  EXPECT_EQ(PromptOf(body), std::string(kUser) +
                                "<|im_assistant|>assistant<|im_middle|><think></think>Good day."
                                "<|im_end|><|im_user|>user<|im_middle|>more<|im_end|>" +
                                kThinks);
  body["reasoning"] = {{"context", "all_turns"}};
  EXPECT_THAT(PromptOf(body), HasSubstr("<think>So</think>Good day."));
}

TEST_F(ResponsesTest, ResponsesAreKeptPerCaller) {
  const Json response = BodyOf(*Create(Hello()));
  const std::string path = "/v1/responses/" + response["id"].get<std::string>();
  EXPECT_EQ(BodyOf(*Ask("GET", path, "")), response);
  caller_ = "another";
  EXPECT_EQ(Ask("GET", path, "")->response().status, 404);
  EXPECT_EQ(Ask("DELETE", path, "")->response().status, 404);
  EXPECT_EQ(Create(With("previous_response_id", response["id"]))->response().status, 404);
  caller_ = "somebody";
  EXPECT_EQ(BodyOf(*Ask("DELETE", path, ""))["deleted"], true);
  EXPECT_EQ(Ask("GET", path, "")->response().status, 404);
  EXPECT_EQ(Create(With("previous_response_id", response["id"]))->response().status, 404);

  const Json unkept = BodyOf(*Create(With("store", false)));
  EXPECT_EQ(Ask("GET", "/v1/responses/" + unkept["id"].get<std::string>(), "")->response().status,
            404);
}

TEST_F(ResponsesTest, AnswersThatAreCutOff) {
  const Json response = BodyOf(*Create(With("max_output_tokens", 5)));
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"], (Json{{"reason", "max_output_tokens"}}));
  EXPECT_EQ(response["output"].back()["status"], "incomplete");
  EXPECT_EQ(response["max_output_tokens"], 5);
}

TEST_F(ResponsesTest, ADeadlineFailsAStream) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  const auto exchange =
      Start("POST", "/v1/responses", With("stream", true).dump(), {{"tandem-deadline-ms", "50"}});
  ASSERT_TRUE(exchange->WaitForEnd());
  const Json last = EventsOf(*exchange).back();
  EXPECT_EQ(last["type"], "response.failed");
  EXPECT_EQ(last["response"]["status"], "failed");
  EXPECT_THAT(last["response"]["error"].value("message", ""), HasSubstr("deadline"));
}

TEST_F(ResponsesTest, FieldsWithoutEffect) {
  const std::string plain = PromptOf(Hello());
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"user", "u"},
           {"safety_identifier", "s"},
           {"service_tier", "auto"},
           {"prompt_cache_key", "k"},
           {"max_tool_calls", 4},
           {"stream_options", {{"include_obfuscation", false}}},
           {"truncation", "disabled"},
           {"background", false},
           {"top_logprobs", 0},
           {"text", {{"verbosity", "low"}}},
           {"include", {"file_search_call.results"}},
           {"conversation", nullptr}}) {
    EXPECT_EQ(PromptOf(With(key, value)), plain) << key;
  }
}

TEST_F(ResponsesTest, FaultyFieldsAreNamed) {
  for (const auto& [key, value, expected] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"input", nullptr, "input is missing"},
           {"input", Json::array(), "input is empty"},
           {"input", 5, "input is empty; expected a string or a list of items"},
           {"input", {5}, "input[0] is 5; expected an object"},
           {"input", {{{"type", "web_search_call"}}}, "input[0].type is \"web_search_call\""},
           {"input", {{{"type", "item_reference"}, {"id", "x"}}}, "input[0].type is"},
           {"input", {{{"role", "robot"}, {"content", "x"}}}, "input[0].role is \"robot\""},
           {"input",
            {{{"role", "user"},
              {"content", {{{"type", "input_image"}, {"image_url", "http://x/"}}}}}},
            "input[0].content[0].type is \"input_image\"; expected \"input_text\""},
           {"input",
            {{{"type", "function_call_output"}, {"call_id", "c"}, {"output", "x"}}},
            "input[0].call_id is \"c\"; expected that of an earlier function_call"},
           {"max_output_tokens", 0, "max_output_tokens is 0"},
           {"temperature", 3, "temperature is 3; expected a number from 0 to 2"},
           {"background", true, "background is not supported"},
           {"conversation", "c", "conversation is not supported: use previous_response_id"},
           {"prompt", {{"id", "p"}}, "prompt is not supported"},
           {"truncation", "auto", "truncation is \"auto\"; expected \"disabled\""},
           {"top_logprobs", 3, "top_logprobs is 3"},
           {"include", {"message.output_text.logprobs"}, "include is a list; expected no log-prob"},
           {"metadata", {{"k", 1}}, "metadata is too large"},
           {"metadata", {{"k", std::string(513, 'x')}}, "metadata is too large"},
           {"tools", {{{"type", "web_search"}}}, "tools[0].type is \"web_search\""},
           {"tools", {{{"type", "function"}}}, "tools[0].name is missing"},
           {"tool_choice", "required", "tool_choice asks for a call"},
           {"tool_choice", "maybe", "tool_choice is \"maybe\"; expected \"auto\" or \"none\""},
           {"tool_choice", {{"type", "web_search"}}, "tool_choice.type is \"web_search\""},
           {"reasoning", {{"effort", "extreme"}}, "reasoning.effort is \"extreme\""},
           {"text", {{"format", {{"type", "grammar"}}}}, "text.format.type is \"grammar\""},
           {"text", {{"format", {{"type", "json_schema"}}}}, "text.format.schema is missing"},
           {"frobnicate", 1, "frobnicate is not a field that this server knows"}}) {
    const auto exchange = Create(With(key, value));
    EXPECT_EQ(exchange->response().status, 400) << key << exchange->response().body;
    EXPECT_THAT(BodyOf(*exchange)["error"].value("message", ""), HasSubstr(expected)) << key;
  }
  EXPECT_EQ(Create(With("model", "other"))->response().status, 404);
  EXPECT_EQ(engine_->finished().size(), 0u);
}

TEST(ResponseStore, TheLeastRecentlyUsedGoFirst) {
  ResponseStore store(3 * 1000);
  const auto keep = [&](const char* id, size_t bytes = 500) {
    store.Keep("me", {id, std::string(bytes, 'r'), "[]"});
  };
  keep("a"), keep("b"), keep("c");
  EXPECT_TRUE(store.Find("me", "a"));
  keep("d");
  EXPECT_TRUE(store.Find("me", "a"));
  EXPECT_FALSE(store.Find("me", "b"));
  store.Keep("you", {"z", std::string(500, 'r'), "[]"});  // has a room of its own
  EXPECT_TRUE(store.Find("me", "c"));
  EXPECT_FALSE(store.Find("me", "z"));
  keep("huge", 5000);
  EXPECT_FALSE(store.Find("me", "huge"));
  EXPECT_TRUE(store.Delete("me", "a"));
  EXPECT_FALSE(store.Delete("me", "a"));
}

}  // namespace
}  // namespace tandem
