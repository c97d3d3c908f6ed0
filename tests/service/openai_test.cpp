// /v1/chat/completions, /v1/completions, /v1/models and the routes that count, over a scripted
// engine: what a request becomes, what an answer looks like.
#include "service/api/openai_routes.h"
#include "service/api/tokenize_routes.h"
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

Json Hello() { return {{"model", "m"}, {"messages", {{{"role", "user"}, {"content", "hello"}}}}}; }
Json With(const char* key, Json value) {
  Json body = Hello();
  body[key] = std::move(value);
  return body;
}
Json Text(const char* key = "model", Json value = "m") {
  Json body = {{"model", "m"}, {"prompt", "hello"}};
  body[key] = std::move(value);
  return body;
}
Json Tools() {
  return Json::parse(
      R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])");
}
Json Messages(std::initializer_list<Json> messages) { return Json::array_t(messages); }

class OpenAiTest : public ApiFixture {
 protected:
  OpenAiTest() { Answer("So</think>Good day."); }
  void AddRoutes(RouteTable& routes, const ServiceContext& service) override {
    AddOpenAiRoutes(routes, service);
    AddTokenizeRoutes(routes, service);
  }
  std::shared_ptr<KeptExchange> Chat(const Json& body) {
    return Ask("POST", "/v1/chat/completions", body.dump());
  }
  std::shared_ptr<KeptExchange> Complete(const Json& body) {
    return Ask("POST", "/v1/completions", body.dump());
  }
  std::string PromptOf(const Json& body) {
    const auto exchange = Chat(body);
    EXPECT_EQ(exchange->response().status, 200) << exchange->response().body;
    return prompt_;
  }
  // The data of a stream's unnamed events, without the "[DONE]" at the end.
  static std::vector<Json> ChunksOf(const KeptExchange& exchange, bool done = true) {
    std::string rest = exchange.stream();
    constexpr std::string_view kDone = "data: [DONE]\n\n";
    EXPECT_EQ(rest.ends_with(kDone), done) << rest;
    if (rest.ends_with(kDone)) rest.resize(rest.size() - kDone.size());
    std::vector<Json> chunks;
    while (!rest.empty()) {
      EXPECT_TRUE(rest.starts_with("data: ")) << rest;
      const size_t end = rest.find("\n\n");
      chunks.push_back(Json::parse(rest.substr(6, end - 6)));
      rest = rest.substr(end + 2);
    }
    return chunks;
  }
};

TEST_F(OpenAiTest, AWholeAnswer) {
  const Json answer = BodyOf(*Chat(Hello()));
  EXPECT_THAT(answer["id"].get<std::string>(), testing::MatchesRegex("chatcmpl-[0-9a-z]{24}"));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["model"], "m");
  EXPECT_GT(answer["created"], 1'700'000'000);
  EXPECT_EQ(answer["choices"].dump(),
            R"([{"index":0,"message":{"role":"assistant","content":"Good day.",)"
            R"("reasoning_content":"So","reasoning":"So"},"logprobs":null,)"
            R"("finish_reason":"stop"}])");
  EXPECT_EQ(answer["usage"].dump(),
            R"({"prompt_tokens":24,"completion_tokens":12,"total_tokens":36,"cached_tokens":0,)"
            R"("prompt_tokens_details":{"cached_tokens":0},)"
            R"("completion_tokens_details":{"reasoning_tokens":2}})");
}

TEST_F(OpenAiTest, AStream) {
  Answer(kCall);
  Json body = With("tools", Tools());
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const auto chunks = ChunksOf(*Chat(body));
  Json message = {{"reasoning_content", ""}, {"content", ""}};
  std::string arguments;
  for (size_t i = 0; i + 1 < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(chunks[i]["id"], chunks[0]["id"]);
    EXPECT_FALSE(chunks[i].contains("usage"));
    const Json& delta = chunks[i]["choices"][0]["delta"];
    EXPECT_EQ(delta.contains("role"), i == 0);
    for (const char* key : {"reasoning_content", "content"})
      message[key].get_ref<std::string&>() += delta.value(key, "");
    if (delta.contains("tool_calls"))
      arguments += delta["tool_calls"][0]["function"].value("arguments", "");
  }
  EXPECT_EQ(message["reasoning_content"], "Let me see");
  EXPECT_EQ(message["content"], "Well.");
  EXPECT_EQ(arguments, "{\"a\":  1.0}");
  const Json& last = chunks[chunks.size() - 2]["choices"][0];
  EXPECT_EQ(last["delta"], Json::object());
  EXPECT_EQ(last["finish_reason"], "tool_calls");
  EXPECT_EQ(last["usage"], chunks.back()["usage"]);  // Moonshot's place
  EXPECT_EQ(chunks.back()["choices"], Json::array());

  const Json whole = BodyOf(*Chat(With("tools", Tools())))["choices"][0];
  EXPECT_EQ(whole["finish_reason"], "tool_calls");
  EXPECT_EQ(whole["message"]["tool_calls"].dump(),
            R"([{"id":"functions.f:0","type":"function",)"
            R"("function":{"name":"f","arguments":"{\"a\":  1.0}"}}])");
}

TEST_F(OpenAiTest, SeveralAnswers) {
  Json body = With("n", 3);
  body["seed"] = 7;
  const Json answer = BodyOf(*Chat(body));
  ASSERT_EQ(answer["choices"].size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["message"]["content"], "Good day.");
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 24);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 36);
  body["stream"] = true;
  int ends = 0;
  for (const Json& chunk : ChunksOf(*Chat(body)))
    ends += !chunk["choices"][0]["finish_reason"].is_null();
  EXPECT_EQ(ends, 3);
}

TEST_F(OpenAiTest, Prompts) {
  EXPECT_EQ(PromptOf(Hello()), std::string(kUser) + kThinks);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"thinking", {{"type", "disabled"}}},
           {"reasoning_effort", "none"},
           {"chat_template_kwargs", {{"thinking", false}}},
           {"chat_template_kwargs", {{"enable_thinking", false}}}}) {
    EXPECT_EQ(PromptOf(With(key, value)), std::string(kUser) + kThinks + "</think>") << key;
  }
  Json body = With("thinking", {{"type", "enabled"}});
  body["reasoning_effort"] = "none";
  EXPECT_EQ(PromptOf(body), std::string(kUser) + kThinks);
  body = With("messages", Messages({{{"role", "developer"}, {"content", "Be good."}},
                                    {{"role", "user"}, {"content", "hello"}}}));
  EXPECT_EQ(PromptOf(body),
            std::string("<|im_system|>system<|im_middle|>Be good.<|im_end|>") + kUser + kThinks);
}

TEST_F(OpenAiTest, ReasoningOfFinishedTurns) {
  Json body = With(
      "messages", Messages({{{"role", "user"}, {"content", "a"}},
                            {{"role", "assistant"}, {"content", "b"}, {"reasoning_content", "why"}},
                            {{"role", "user"}, {"content", "hello"}}}));
  EXPECT_THAT(PromptOf(body), HasSubstr("<think></think>b"));
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"thinking", {{"type", "enabled"}, {"keep", "all"}}},
           {"chat_template_kwargs", {{"preserve_thinking", true}}}}) {
    Json kept = body;
    kept[key] = value;
    EXPECT_THAT(PromptOf(kept), HasSubstr("<think>why</think>b")) << key;
  }
}

TEST_F(OpenAiTest, AMessageIsContinued) {
  Json body = With("messages", Messages({{{"role", "user"}, {"content", "hello"}},
                                         {{"role", "assistant"}, {"content", "Good"}}}));
  body["continue_final_message"] = true;
  body["add_generation_prompt"] = false;
  EXPECT_TRUE(PromptOf(body).ends_with("Good"));
  body["messages"][1]["partial"] = true;
  body.erase("continue_final_message");
  EXPECT_TRUE(PromptOf(body).ends_with("Good"));
}

TEST_F(OpenAiTest, WhatTheEngineIsAskedFor) {
  Json body = Hello();
  body.update(Json::parse(R"({"temperature":0.5,"top_p":0.9,"top_k":-1,"min_p":0.1,"seed":-3,
    "presence_penalty":1,"frequency_penalty":-1,"repetition_penalty":1.1,"max_tokens":7,
    "stop":"x","stop_token_ids":[1,2],"logit_bias":{"5":-100},"logprobs":true,"top_logprobs":2,
    "cache_salt":"s","ignore_eos":true})"));
  Chat(body);
  const GenerationRequest request = engine_->last_request();
  EXPECT_FLOAT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(request.sampling.top_p, 0.9f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_FLOAT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_EQ(request.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty, 1);
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(request.sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request.stop_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(request.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, -100.0f}}));
  EXPECT_EQ(request.sampling.top_logprobs, 2);
  EXPECT_EQ(request.cache_salt, "somebody\ns");
  EXPECT_TRUE(request.ignore_eos);
  Chat(Hello());  // the family's published values
  EXPECT_FLOAT_EQ(engine_->last_request().sampling.temperature, 1.0f);
  EXPECT_FLOAT_EQ(engine_->last_request().sampling.top_p, 0.95f);
  Chat(With("thinking", {{"type", "disabled"}}));
  EXPECT_FLOAT_EQ(engine_->last_request().sampling.temperature, 0.6f);
}

TEST_F(OpenAiTest, LogprobsAreThoseOfTheText) {
  Json body = With("logprobs", true);
  body["top_logprobs"] = 1;
  const Json answer = BodyOf(*Chat(body));
  const Json& content = answer["choices"][0]["logprobs"]["content"];
  std::string text;
  for (const Json& entry : content) text += entry["token"].get<std::string>();
  EXPECT_EQ(text, "Good day.");
  EXPECT_EQ(content[0].dump(),
            R"({"token":"G","logprob":-0.5,"bytes":[71],)"
            R"("top_logprobs":[{"token":"\u0000","logprob":-1.0,"bytes":[0]}]})");
  body["stream"] = true;
  Json streamed = Json::array();
  for (const Json& chunk : ChunksOf(*Chat(body))) {
    const Json& choice = chunk["choices"][0];
    if (choice.contains("logprobs"))
      for (const Json& entry : choice["logprobs"]["content"]) streamed.push_back(entry);
  }
  EXPECT_EQ(streamed, content);
}

TEST_F(OpenAiTest, ADeadlineEndsAStreamWithAnError) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  const auto exchange = Start("POST", "/v1/chat/completions", With("stream", true).dump(),
                              {{"tandem-deadline-ms", "50"}});
  ASSERT_TRUE(exchange->WaitForEnd());
  const Json last = ChunksOf(*exchange, /*done=*/false).back();
  EXPECT_EQ(last["error"]["type"], "timeout_error");
  const auto whole =
      Start("POST", "/v1/chat/completions", With("n", 2).dump(), {{"tandem-deadline-ms", "50"}});
  ASSERT_TRUE(whole->WaitForEnd());
  EXPECT_EQ(whole->response().status, 504);
}

TEST_F(OpenAiTest, WhoeverLeavesCancelsAllAnswers) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  Json body = Text("prompt", {"a", "b"});
  body["n"] = 2;
  body["max_tokens"] = 100000;
  body["stream"] = true;
  const auto exchange = Start("POST", "/v1/completions", body.dump());
  ASSERT_TRUE(exchange->WaitFor("xx"));
  exchange->Leave();
  EXPECT_TRUE(engine_->HasFinished(4));
  EXPECT_THAT(engine_->finished(), testing::Each(FinishReason::kCancelled));
}

// The queue has room for two of four answers: the whole request is refused, and nothing runs on.
TEST_F(OpenAiTest, AQueueThatFillsRefusesTheWholeRequest) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100),
          .max_queue = 2});
  Json body = Text("prompt", {"a", "b", "c", "d"});
  body["max_tokens"] = 100000;
  const auto exchange = Complete(body);
  EXPECT_EQ(exchange->response().status, 429);
  EXPECT_EQ(exchange->response().headers,
            (std::vector<std::pair<std::string, std::string>>{{"Retry-After", "2"}}));
  EXPECT_TRUE(engine_->HasFinished(2));
}

TEST_F(OpenAiTest, Completions) {
  Answer("day");
  const Json answer = BodyOf(*Complete(Text("echo", true)));
  EXPECT_THAT(answer["id"].get<std::string>(), testing::StartsWith("cmpl-"));
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"].dump(),
            R"([{"index":0,"text":"helloday","logprobs":null,"finish_reason":"stop"}])");
  EXPECT_EQ(engine_->last_request().max_tokens, 16);

  const Json probs = BodyOf(*Complete(Text("logprobs", 1)))["choices"][0]["logprobs"];
  EXPECT_EQ(probs.dump(), R"({"tokens":["d","a","y"],"token_logprobs":[-0.5,-0.5,-0.5],)"
                          R"("top_logprobs":[{"\u0000":-1.0},{"\u0000":-1.0},{"\u0000":-1.0}],)"
                          R"("text_offset":[0,1,2]})");
  Json several = Text("prompt", {"one", {72, 105}});
  several["n"] = 2;
  const Json four = BodyOf(*Complete(several));
  EXPECT_EQ(four["choices"].size(), 4u);
  EXPECT_EQ(four["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(four["usage"]["completion_tokens"], 12);

  Json stream = Text("stream", true);
  std::string text;
  for (const Json& chunk : ChunksOf(*Complete(stream)))
    text += chunk["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, "day");
  // A rendered template: special tokens are recognised.
  Complete(Text("prompt", std::string(kUser) + kThinks));
  EXPECT_EQ(engine_->last_request().prompt_ids.front(),
            *engine_->tokenizer().SpecialId("<|im_user|>"));
}

TEST_F(OpenAiTest, Models) {
  const Json list = BodyOf(*Ask("GET", "/v1/models", ""));
  EXPECT_EQ(list["data"][0]["id"], "m");
  EXPECT_EQ(list["data"][0]["max_model_len"], 1 << 20);
  EXPECT_EQ(BodyOf(*Ask("GET", "/v1/models/m", "")), list["data"][0]);
  EXPECT_EQ(Ask("GET", "/v1/models/other", "")->response().status, 404);
}

TEST_F(OpenAiTest, Counting) {
  const auto ask = [&](const char* path, const Json& body) {
    return BodyOf(*Ask("POST", path, body.dump()));
  };
  EXPECT_EQ(ask("/tokenize", {{"prompt", "Hi"}, {"return_token_strs", true}}).dump(),
            R"({"count":2,"max_model_len":1048576,"tokens":[72,105],"token_strs":["H","i"]})");
  EXPECT_EQ(ask("/tokenize", Hello())["count"], 24);
  EXPECT_EQ(ask("/v1/tokenizers/estimate-token-count", Hello())["data"]["total_tokens"], 24);
  const Json back = ask("/detokenize", {{"tokens", {72, 105}}});
  EXPECT_EQ(back["prompt"], "Hi");
  EXPECT_EQ(back["text"], "Hi");
  for (const auto& [path, body, expected] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"/tokenize", Json::object(), "prompt is missing"},
           {"/tokenize", {{"prompt", 5}}, "prompt is 5"},
           {"/tokenize", {{"prompt", "x"}, {"model", "other"}}, "model is \"other\""},
           {"/tokenize", {{"messages", 5}}, "messages is no list"},
           {"/detokenize", {{"tokens", {-1}}}, "tokens[0] is -1"},
           {"/detokenize", {{"tokens", {1.5}}}, "tokens[0] is 1.5"},
           {"/detokenize", Json::object(), "tokens is missing"},
           {"/v1/tokenizers/estimate-token-count", Json::array(), "the body is a list"}}) {
    EXPECT_THAT(ask(path, body)["error"].value("message", ""), HasSubstr(expected));
  }
}

TEST_F(OpenAiTest, FieldsWithoutEffect) {
  const std::string plain = PromptOf(Hello());
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"user", "u"},
                                                 {"metadata", {{"k", "v"}}},
                                                 {"store", true},
                                                 {"service_tier", "auto"},
                                                 {"prompt_cache_key", "k"},
                                                 {"modalities", {"text"}},
                                                 {"separate_reasoning", true},
                                                 {"function_call", nullptr},
                                                 {"guided_json", nullptr},
                                                 {"priority", 0}}) {
    EXPECT_EQ(PromptOf(With(key, value)), plain) << key;
  }
}

TEST_F(OpenAiTest, FaultyFieldsAreNamed) {
  for (const auto& [key, value, expected] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"messages", nullptr, "messages is"},
           {"messages", Json::array(), "messages is no list of messages"},
           {"messages", {5}, "messages[0] is 5; expected an object"},
           {"messages", Messages({{{"role", "user"}, {"content", 5}}}), "messages[0].content"},
           {"messages",
            Messages({{{"role", "user"},
                       {"content", Messages({{{"type", "image_url"}, {"image_url", "x"}}})}}}),
            "messages[0].content[0].type is \"image_url\"; expected \"text\""},
           {"messages", Messages({{{"role", "assistant"}, {"function_call", {{"name", "f"}}}}}),
            "messages[0].function_call is not supported: use tool_calls"},
           {"model", 5, "model is 5"},
           {"n", 0, "n is 0; expected a whole number from 1 to 16"},
           {"n", 1e9, "n is 1000000000.0"},
           {"max_tokens", 0, "max_tokens is 0"},
           {"max_tokens", "5", "max_tokens is \"5\""},
           {"temperature", -0.1, "temperature is -0.1"},
           {"stop", {""}, "stop[0] is of 0 bytes"},
           {"stop", 5, "stop is 5; expected a list"},
           {"logit_bias", {{"1x", 1}}, "logit_bias.1x is 1; expected ids"},
           {"logit_bias", {{"5", 200}}, "logit_bias.5 is 200; expected a number from -100 to 100"},
           {"logit_bias", {{"999999", 1}}, "logit_bias.999999"},
           {"stop_token_ids", {270}, "stop_token_ids[0] is 270"},
           {"top_logprobs", 2, "top_logprobs is 2; expected logprobs to be true"},
           {"tools", {{{"type", "web_search"}}}, "tools[0].type is \"web_search\""},
           {"tools", {{{"type", "function"}}}, "tools[0].function is missing"},
           {"tools",
            {{{"type", "function"}, {"function", {{"name", ""}}}}},
            "tools[0].function.name is \"\""},
           {"tool_choice", "required", "tool_choice asks for a call"},
           {"tool_choice", "maybe", "tool_choice is \"maybe\""},
           {"tool_choice", {{"type", "function"}}, "tool_choice.function is missing"},
           {"response_format", {{"type", "xml"}}, "response_format.type is \"xml\""},
           {"response_format", {{"type", "json_schema"}}, "response_format.json_schema is missing"},
           {"thinking", {{"type", "maybe"}}, "thinking.type is \"maybe\""},
           {"thinking", {{"type", "enabled"}, {"keep", "some"}}, "thinking.keep is \"some\""},
           {"chat_template_kwargs", {{"loop", 1}}, "chat_template_kwargs.loop is not a field"},
           {"chat_template", "{{1}}", "chat_template is not supported: templates"},
           {"functions", {{{"name", "f"}}}, "functions is not supported: use tools"},
           {"guided_regex", "(a+)+$", "guided_regex is not supported: use response_format"},
           {"min_tokens", 5, "min_tokens is not supported"},
           {"priority", -5, "priority is -5"},
           {"include_reasoning", false, "include_reasoning is false; expected true"},
           {"frobnicate", 1, "frobnicate is not a field that this server knows"}}) {
    const auto exchange = Chat(With(key, value));
    EXPECT_EQ(exchange->response().status, 400) << key << exchange->response().body;
    EXPECT_THAT(BodyOf(*exchange)["error"].value("message", ""), HasSubstr(expected)) << key;
  }
  for (const auto& [key, value, expected] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"prompt", nullptr, "prompt is missing"},
           {"prompt", "", "prompt is no prompt"},
           {"prompt", Json::array(), "prompt is no prompt"},
           {"prompt", {1, "x"}, "prompt[1] is \"x\"; expected an id"},
           {"prompt", {"x", 1}, "prompt[1] is no prompt"},
           {"prompt", Json(17, "x"), "prompt has 17 entries and n is 1"},
           {"suffix", "s", "suffix is not supported"},
           {"best_of", 3, "best_of is 3; expected the same as n"},
           {"logprobs", true, "logprobs is true"},
           {"messages", Json::array({1}), "messages is not a field"}}) {
    const auto exchange = Complete(Text(key, value));
    EXPECT_EQ(exchange->response().status, 400) << key << exchange->response().body;
    EXPECT_THAT(BodyOf(*exchange)["error"].value("message", ""), HasSubstr(expected)) << key;
  }
  EXPECT_EQ(Chat(With("model", "other"))->response().status, 404);
  EXPECT_EQ(engine_->finished().size(), 0u);
}

}  // namespace
}  // namespace tandem
