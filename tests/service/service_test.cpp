// The gRPC server over a scripted engine, seen through a real client connection.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "service/server.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

struct Answer {
  grpc::Status status;
  std::string reasoning, text;
  std::vector<v1::ToolCallDelta> calls;  // one per call: its pieces joined
  std::vector<v1::Token> tokens;
  v1::Finish finish;
  int events = 0;
  std::string retry_after_ms;
};

void Add(const v1::GenerateEvent& event, Answer& answer) { answer.text += event.text(); }
void Add(const v1::ChatEvent& event, Answer& answer) {
  answer.reasoning += event.reasoning();
  answer.text += event.text();
  for (const v1::ToolCallDelta& delta : event.tool_calls()) {
    if (delta.index() == static_cast<int>(answer.calls.size())) {
      answer.calls.push_back(delta);
    } else {
      answer.calls.back().mutable_arguments()->append(delta.arguments());
    }
  }
}

template <class Event>
Answer Collect(grpc::ClientReader<Event>& reader, const grpc::ClientContext& context) {
  Answer answer;
  for (Event event; reader.Read(&event);) {
    ++answer.events;
    Add(event, answer);
    answer.tokens.insert(answer.tokens.end(), event.tokens().begin(), event.tokens().end());
    if (event.has_finish()) answer.finish = event.finish();
  }
  answer.status = reader.Finish();
  const auto& trailer = context.GetServerTrailingMetadata();
  if (auto found = trailer.find("grpc-retry-pushback-ms"); found != trailer.end()) {
    answer.retry_after_ms.assign(found->second.data(), found->second.size());
  }
  return answer;
}

v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  return request;
}

v1::ChatRequest Question(const std::string& text) {
  v1::ChatRequest request;
  v1::ChatMessage& message = *request.mutable_conversation()->add_messages();
  message.set_role(v1::ROLE_USER);
  message.add_content()->set_text(text);
  return request;
}

class ServiceTest : public testing::Test {
 protected:
  void Start(FakeEngine::Script script = {}, Limits limits = {}) {
    engine_ = std::make_unique<FakeEngine>(std::move(script));
    auto server =
        Server::Start(*engine_, {.address = "127.0.0.1:0", .model_name = "m", .limits = limits});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Inference::NewStub(Connect());
  }
  // Answers every prompt with this text.
  void StartSaying(const std::string& text, Limits limits = {}) {
    Start({.answer = [text](const std::string&) { return text; }}, limits);
  }
  std::shared_ptr<grpc::Channel> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    return grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  Answer Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return Collect(*stub_->Generate(&context, request), context);
  }
  Answer Chat(const v1::ChatRequest& request) {
    grpc::ClientContext context;
    return Collect(*stub_->Chat(&context, request), context);
  }

  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

TEST_F(ServiceTest, GenerateStreamsTheContinuation) {
  StartSaying("gr\xC3\xBC\xC3\x9F dich<|im_end|>");
  const Answer answer = Generate(Prompt("hello"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "gr\xC3\xBC\xC3\x9F dich");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finish.usage().prompt_tokens(), 5);
  EXPECT_EQ(answer.finish.usage().completion_tokens(), 12);
  EXPECT_TRUE(answer.tokens.empty());
}

TEST_F(ServiceTest, ZeroIsAValueAndAbsenceIsNot) {
  StartSaying("abc");
  v1::GenerateRequest request = Prompt("p");
  request.mutable_output()->set_max_tokens(2);
  Answer answer = Generate(request);
  EXPECT_EQ(answer.text, "ab");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_LENGTH);

  request.mutable_output()->set_max_tokens(0);
  EXPECT_EQ(Generate(request).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  request.mutable_output()->clear_max_tokens();
  request.mutable_output()->set_top_logprobs(0);  // the chosen token's alone
  answer = Generate(request);
  ASSERT_EQ(answer.tokens.size(), 3u);
  EXPECT_TRUE(answer.tokens[0].has_logprob());
  EXPECT_EQ(answer.tokens[0].top_size(), 0);
}

TEST_F(ServiceTest, TokensComeWithBytesAndLogprobs) {
  StartSaying("\xC3\xBC<|im_end|>");
  v1::GenerateRequest request = Prompt("p");
  request.mutable_output()->set_top_logprobs(2);
  const Answer answer = Generate(request);
  ASSERT_EQ(answer.tokens.size(), 3u);
  EXPECT_EQ(answer.tokens[0].piece(), "\xC3");  // half a character is no text yet
  EXPECT_EQ(answer.tokens[0].id(), 0xC3);
  EXPECT_FLOAT_EQ(answer.tokens[0].logprob(), -0.5f);
  ASSERT_EQ(answer.tokens[0].top_size(), 2);
  EXPECT_FLOAT_EQ(answer.tokens[0].top(1).logprob(), -2.0f);
  EXPECT_EQ(answer.tokens[2].piece(), "<|im_end|>");
  EXPECT_EQ(answer.text, "\xC3\xBC");
}

TEST_F(ServiceTest, PromptTextIsNotControlUnlessAsked) {
  Start();  // repeats the prompt
  v1::GenerateRequest request = Prompt("a<|im_end|>b");
  EXPECT_EQ(Generate(request).finish.usage().prompt_tokens(), 12);
  request.set_parse_special_tokens(true);
  EXPECT_EQ(Generate(request).finish.usage().prompt_tokens(), 3);
  EXPECT_EQ(Generate(request).text, "ab");
  request.set_skip_special_tokens(false);
  EXPECT_EQ(Generate(request).text, "a<|im_end|>b");
}

TEST_F(ServiceTest, ChatAnswersAreTakenApart) {
  StartSaying(
      "I must look.</think>One moment.<|tool_calls_section_begin|><|tool_call_begin|> "
      "functions.get-weather:0\n<|tool_call_argument_begin|>{\"city\":\"K\xC3\xB6ln\"}"
      "<|tool_call_end|><|tool_call_begin|>functions.b.c:1<|tool_call_argument_begin|>"
      "<|tool_call_end|><|tool_calls_section_end|>dropped<|im_end|>");
  const Answer answer = Chat(Question("weather?"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.reasoning, "I must look.");
  EXPECT_EQ(answer.text, "One moment.");
  ASSERT_EQ(answer.calls.size(), 2u);
  EXPECT_EQ(answer.calls[0].id(), "functions.get-weather:0");
  EXPECT_EQ(answer.calls[0].name(), "get-weather");
  EXPECT_EQ(answer.calls[0].arguments(), "{\"city\":\"K\xC3\xB6ln\"}");
  EXPECT_EQ(answer.calls[1].name(), "b.c");
  EXPECT_EQ(answer.calls[1].arguments(), "{}");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_TOOL_CALLS);
}

TEST_F(ServiceTest, InstantChatHasNoReasoning) {
  StartSaying("Just text.<|im_end|>");
  v1::ChatRequest request = Question("hi");
  request.mutable_conversation()->set_thinking(false);
  const Answer answer = Chat(request);
  EXPECT_EQ(answer.reasoning, "");
  EXPECT_EQ(answer.text, "Just text.");
  EXPECT_EQ(answer.finish.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(ServiceTest, ACancelledCallStopsTheEngine) {
  Start({.answer = [](const std::string&) { return std::string(100'000, 'x'); }, .step_time = 1ms});
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Prompt("p"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(engine_->HasFinished(1));
  EXPECT_EQ(engine_->finished(), std::vector{FinishReason::kCancelled});
}

TEST_F(ServiceTest, ALostClientStopsTheEngine) {
  Start({.answer = [](const std::string&) { return std::string(100'000, 'x'); }, .step_time = 1ms});
  {
    auto stub = v1::Inference::NewStub(Connect());
    grpc::ClientContext context;
    auto reader = stub->Generate(&context, Prompt("p"));
    v1::GenerateEvent event;
    ASSERT_TRUE(reader->Read(&event));
  }  // gone without a word
  EXPECT_TRUE(engine_->HasFinished(1));
  EXPECT_EQ(engine_->finished(), std::vector{FinishReason::kCancelled});
}

TEST_F(ServiceTest, TheCallsDeadlineIsTheRequests) {
  Start({.answer = [](const std::string&) { return std::string(100'000, 'x'); }, .step_time = 1ms});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 1s);
  const Answer answer = Collect(*stub_->Generate(&context, Prompt("p")), context);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_FALSE(answer.text.empty());
  ASSERT_TRUE(engine_->HasFinished(1));
  // Engine and gRPC both watch the clock; either may be first.
  EXPECT_THAT(engine_->finished(), testing::ElementsAre(testing::AnyOf(FinishReason::kDeadline,
                                                                       FinishReason::kCancelled)));
}

TEST_F(ServiceTest, ASlowReaderNeitherHoldsUpTheEngineNorLosesText) {
  std::string text;
  for (int i = 0; text.size() < 100'000; ++i) text += std::to_string(i) + " ";
  StartSaying(text);
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Prompt("p"));
  ASSERT_TRUE(engine_->HasFinished(1));  // done before a single event was read
  const Answer answer = Collect(*reader, context);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, text);
  EXPECT_LT(answer.events, 50'000) << "pending events were not merged";
}

TEST_F(ServiceTest, UnreadAnswersAreBounded) {
  Limits limits;
  limits.max_unread_bytes = 256 << 10;
  StartSaying(std::string(1'000'000, 'x'), limits);
  v1::GenerateRequest request = Prompt("p");
  request.mutable_output()->set_top_logprobs(20);
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, request);
  ASSERT_TRUE(engine_->HasFinished(1));
  EXPECT_EQ(engine_->finished(), std::vector{FinishReason::kCancelled});
  const Answer answer = Collect(*reader, context);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServiceTest, TooManyCallsAreRefusedWithAHint) {
  Limits limits;
  limits.max_open_requests = 1;
  Start({.answer = [](const std::string&) { return std::string(100'000, 'x'); }, .step_time = 1ms},
        limits);
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Prompt("p"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));

  // On another connection: one connection's streams beyond the limit wait in the client.
  auto second = v1::Inference::NewStub(Connect());
  grpc::ClientContext refused_context;
  const Answer refused = Collect(*second->Generate(&refused_context, Prompt("p")), refused_context);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GE(std::atoi(refused.retry_after_ms.c_str()), 100) << refused.retry_after_ms;

  context.TryCancel();
  reader->Finish();
  ASSERT_TRUE(engine_->HasFinished(1));
  v1::GenerateRequest brief = Prompt("p");
  brief.mutable_output()->set_max_tokens(1);
  Answer again = Generate(brief);
  for (int i = 0; i < 100 && !again.status.ok();
       ++i) {  // the server learns of the end a little later
    std::this_thread::sleep_for(20ms);
    again = Generate(brief);
  }
  EXPECT_TRUE(again.status.ok()) << again.status.error_message();
}

TEST_F(ServiceTest, AFullQueueIsRefusedWithTheEnginesHint) {
  Start({.max_queue = 0});
  const Answer answer = Generate(Prompt("p"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(answer.retry_after_ms, "1234");
}

struct BadRequest {
  const char* sentence;  // part of the expected message
  std::function<void(v1::ChatRequest&)> spoil;
};

TEST_F(ServiceTest, BadChatsAreNamedInASentence) {
  StartSaying("x");
  const auto tool = [](v1::ChatRequest& r) { return r.mutable_conversation()->add_tools(); };
  const auto message = [](v1::ChatRequest& r) {
    return r.mutable_conversation()->mutable_messages(0);
  };
  const std::vector<BadRequest> cases = {
      {"conversation.messages is empty", [](auto& r) { r.clear_conversation(); }},
      {"conversation.messages has 5000 entries; expected at most 4096",
       [&](auto& r) {
         for (int i = 1; i < 5000; ++i) *r.mutable_conversation()->add_messages() = *message(r);
       }},
      {"messages[0].role is 0; expected ROLE_SYSTEM",
       [&](auto& r) { message(r)->set_role(v1::ROLE_UNSPECIFIED); }},
      {"messages[0].role is 77;", [&](auto& r) { message(r)->set_role(v1::Role(77)); }},
      {"messages[0].content[1] is of no known kind", [&](auto& r) { message(r)->add_content(); }},
      {"messages[0].tool_calls is set, but role is user; expected role assistant",
       [&](auto& r) { message(r)->add_tool_calls(); }},
      {"messages[0].tool_call_id is set, but role is user; expected role tool",
       [&](auto& r) { message(r)->set_tool_call_id("x"); }},
      {"messages[0].tool_calls[0] has no id",
       [&](auto& r) {
         message(r)->set_role(v1::ROLE_ASSISTANT);
         message(r)->add_tool_calls();
       }},
      {"tools[0].name is empty", [&](auto& r) { tool(r); }},
      {"tools[0].parameters_json is not valid JSON",
       [&](auto& r) {
         tool(r)->set_name("f");
         r.mutable_conversation()->mutable_tools(0)->set_parameters_json("{\"a\":");
       }},
      {"tools[0].parameters_json is not a JSON object",
       [&](auto& r) {
         tool(r)->set_name("f");
         r.mutable_conversation()->mutable_tools(0)->set_parameters_json("[1]");
       }},
      {"tools[0].parameters_json is nested too deeply",
       [&](auto& r) {
         tool(r)->set_name("f");
         r.mutable_conversation()->mutable_tools(0)->set_parameters_json(std::string(100'000, '[') +
                                                                         std::string(100'000, ']'));
       }},
      {"tools[0].parameters_json has an object with too many keys",
       [&](auto& r) {
         tool(r)->set_name("f");
         std::string wide = "{";
         for (int i = 0; i < 20'000; ++i) wide += "\"" + std::to_string(i) + "\":0,";
         r.mutable_conversation()->mutable_tools(0)->set_parameters_json(wide + "\"x\":0}");
       }},
      {"output.max_tokens is -1; expected 1 or more",
       [](auto& r) { r.mutable_output()->set_max_tokens(-1); }},
      {"output.top_logprobs is -1; expected 0 to 20",
       [](auto& r) { r.mutable_output()->set_top_logprobs(-1); }},
      {"output.top_logprobs is 1000000; expected 0 to 20",
       [](auto& r) { r.mutable_output()->set_top_logprobs(1'000'000); }},
      {"output.stop[0] is 0 bytes long; expected 1 to 256",
       [](auto& r) { r.mutable_output()->add_stop(""); }},
      {"output.stop[1] is 1000 bytes long",
       [](auto& r) {
         r.mutable_output()->add_stop("a");
         r.mutable_output()->add_stop(std::string(1000, 'a'));
       }},
      {"output.stop is a list of 17; expected at most 16",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) r.mutable_output()->add_stop("a");
       }},
      {"output.stop_token_ids[0] is 99999; expected 0 to 269",
       [](auto& r) { r.mutable_output()->add_stop_token_ids(99'999); }},
      {"output.stop_token_ids is a list of 65",
       [](auto& r) { r.mutable_output()->mutable_stop_token_ids()->Resize(65, 1); }},
      {"sampling.logit_bias is a map of 1025; expected at most 1024",
       [](auto& r) {
         for (int i = 0; i < 1025; ++i) (*r.mutable_sampling()->mutable_logit_bias())[i] = 1.0f;
       }},
  };
  for (const BadRequest& bad : cases) {
    v1::ChatRequest request = Question("hi");
    bad.spoil(request);
    const Answer answer = Chat(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.sentence;
    EXPECT_NE(answer.status.error_message().find(bad.sentence), std::string::npos)
        << "expected: " << bad.sentence << "\ngot: " << answer.status.error_message();
  }
  EXPECT_TRUE(Chat(Question("hi")).status.ok());
}

TEST_F(ServiceTest, BadPromptsAreNamedInASentence) {
  StartSaying("x");
  v1::GenerateRequest request;
  EXPECT_EQ(Generate(request).status.error_message(), "prompt is missing; expected text or tokens");
  EXPECT_EQ(Generate(Prompt("")).status.error_message(), "text is empty; expected a prompt");
  request.mutable_tokens()->add_ids(1);
  request.mutable_tokens()->add_ids(-5);
  EXPECT_EQ(Generate(request).status.error_message(), "tokens.ids[1] is -5; expected 0 to 269");
}

TEST_F(ServiceTest, AMessageBeyondTheLimitIsRefused) {
  Limits limits;
  limits.max_message_bytes = 1 << 20;
  StartSaying("x", limits);
  EXPECT_EQ(Generate(Prompt(std::string(2 << 20, 'x'))).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Generate(Prompt("p")).status.ok());
}

TEST_F(ServiceTest, TokenizeAndBack) {
  Start();
  v1::TokenizeRequest request;
  request.set_text("a<think>");
  v1::TokenizeResponse tokens;
  grpc::ClientContext first;
  ASSERT_TRUE(stub_->Tokenize(&first, request, &tokens).ok());
  EXPECT_EQ(tokens.ids_size(), 8);

  v1::DetokenizeRequest back;
  back.add_ids('a');
  back.add_ids(0xFF);
  back.add_ids(*engine_->tokenizer().SpecialId("<|im_end|>"));
  v1::DetokenizeResponse text;
  grpc::ClientContext second;
  ASSERT_TRUE(stub_->Detokenize(&second, back, &text).ok());
  EXPECT_EQ(text.text(), "a\xEF\xBF\xBD<|im_end|>");
  back.add_ids(270);
  grpc::ClientContext third;
  EXPECT_EQ(stub_->Detokenize(&third, back, &text).error_message(),
            "ids[3] is 270; expected 0 to 269");
}

TEST_F(ServiceTest, AConversationIsTokenizedAsChatRendersIt) {
  Start();
  v1::TokenizeRequest request;
  *request.mutable_conversation() = Question("hi <|im_end|>").conversation();
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.rendered(),
            "<|im_user|>user<|im_middle|>hi <|im_end|><|im_end|>"
            "<|im_assistant|>assistant<|im_middle|><think>");
  const int32_t end = *engine_->tokenizer().SpecialId("<|im_end|>");
  EXPECT_EQ(std::count(response.ids().begin(), response.ids().end(), end), 1);
}

TEST_F(ServiceTest, ModelInfoSaysWhatIsServed) {
  Start();
  Generate(Prompt("four"));
  v1::GetModelInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.name(), "m");
  EXPECT_EQ(info.architecture(), "kimi_k25");
  EXPECT_EQ(info.vocab_size(), 270);
  EXPECT_EQ(info.stats().generated_tokens(), 4);
  EXPECT_GT(info.stats().resident_bytes(), 1 << 20);
}

TEST_F(ServiceTest, ShutdownLetsAnswersEnd) {
  Start({.answer = [](const std::string&) { return std::string(200, 'x'); }, .step_time = 2ms});
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Prompt("p"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  std::thread closing([this] { server_->Shutdown(10s); });
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(Generate(Prompt("late")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  const Answer answer = Collect(*reader, context);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(event.text().size() + answer.text.size(), 200u);
  closing.join();
}

TEST_F(ServiceTest, ShutdownCancelsWhatDoesNotEnd) {
  Start({.answer = [](const std::string&) { return std::string(100'000, 'x'); }, .step_time = 1ms});
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, Prompt("p"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  const auto begin = std::chrono::steady_clock::now();
  std::thread reading([&] { EXPECT_FALSE(Collect(*reader, context).status.ok()); });
  server_->Shutdown(100ms);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  reading.join();
  EXPECT_EQ(engine_->finished(), std::vector{FinishReason::kCancelled});
}

TEST_F(ServiceTest, OnlyLoopbackWithoutLeave) {
  Start();
  for (const char* address : {"0.0.0.0:0", "[::]:0", "192.168.1.7:50051", "example.org:1", ":0", "",
                              "127.0.0.1.example.org:1", "127.1:1", "dns:///localhost:1"}) {
    const auto server = Server::Start(*engine_, {.address = address});
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
  }
  for (const char* address : {"127.0.0.1:0", "127.8.9.1:0", "localhost:0"}) {
    EXPECT_TRUE(Server::Start(*engine_, {.address = address}).ok()) << address;
  }
  EXPECT_TRUE(Server::Start(*engine_, {.address = "0.0.0.0:0", .insecure = true}).ok());
}

TEST_F(ServiceTest, ATakenPortIsAnError) {
  Start();
  const auto second = Server::Start(*engine_, {.address = server_->address()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(server_->address()), std::string::npos);
}

}  // namespace
}  // namespace tandem
