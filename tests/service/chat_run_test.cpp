// A chat call from rendering to its last update, over a scripted engine.
#include "service/api/chat_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "service/access/request_log.h"
#include "service/api/chat_request.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

// What a sink has been told, by choice.
class Told {
 public:
  explicit Told(int32_t n) : choices_(n) {}

  bool Add(const ChatUpdate& update) {
    std::lock_guard lock(mutex_);
    Choice& choice = choices_[update.choice];
    EXPECT_FALSE(choice.end) << "an update after the last";
    for (const AnswerPiece& piece : update.pieces) {
      if (piece.kind == AnswerPiece::Kind::kReasoning) choice.reasoning += piece.text;
      if (piece.kind == AnswerPiece::Kind::kText) choice.text += piece.text;
      if (piece.kind == AnswerPiece::Kind::kToolCall) choice.calls += piece.call_id + "=";
      if (piece.kind == AnswerPiece::Kind::kToolArguments) choice.calls += piece.text;
    }
    for (const auto& [token, part] : update.tokens) ++choice.parts[static_cast<int>(part)];
    if (update.finish) {
      choice.end = update;
      ++ended_;
      changed_.notify_all();
    }
    return accepts_;
  }
  bool WaitForEnd() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return ended_ == static_cast<int32_t>(choices_.size()); });
  }

  struct Choice {
    std::string reasoning, text, calls;
    int parts[4] = {};
    std::optional<ChatUpdate> end;
  };
  const Choice& operator[](size_t i) const { return choices_[i]; }
  void StopAccepting() { accepts_ = false; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Choice> choices_;
  int32_t ended_ = 0;
  std::atomic<bool> accepts_ = true;
};

class ChatRunTest : public testing::Test {
 protected:
  void Script(FakeEngine::Script script) {
    engine_ = std::make_unique<FakeEngine>(std::move(script));
    constraints_ = ConstraintCompiler::Create(engine_->tokenizer(), engine_->config().eos_ids, {});
    context_ = std::unique_ptr<ServiceContext>(new ServiceContext{
        *engine_, gate_, *constraints_, limits_, intake_, writer_, "m", policy_});
  }
  void Answer(const std::string& text) {
    Script({.answer = [text](const std::string&) { return text; }});
  }
  static ChatCall Call(Json messages, Json tools = nullptr) {
    ChatCall call;
    call.prompt = ChatPrompt{std::move(messages), std::move(tools), {}};
    return call;
  }
  static Json Hello() { return Json::array({{{"role", "user"}, {"content", "hello"}}}); }

  std::shared_ptr<Told> Run(ChatCall call) {
    auto told = std::make_shared<Told>(call.n);
    auto run = Start(std::move(call), told);
    EXPECT_TRUE(run.ok()) << run.status();
    if (run.ok()) {
      EXPECT_TRUE(told->WaitForEnd());
    }
    return told;
  }
  absl::StatusOr<std::shared_ptr<ChatRun>> Start(ChatCall call, std::shared_ptr<Told> told) {
    return StartChat(*context_, std::move(call), {"user", false}, tags_,
                     [told](const ChatUpdate& update) { return told->Add(update); });
  }

  Limits limits_;
  PromptPolicy policy_;
  RequestTags tags_;
  Admission admission_{100};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  WorkQueue intake_{1}, writer_{1};
  std::unique_ptr<ServiceContext> context_;
};

constexpr char kCall[] =
    "Let me see</think>Well.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
    "<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_calls_section_end|>";

TEST_F(ChatRunTest, AnAnswerIsTakenApart) {
  Answer(kCall);
  const Json tools = Json::parse(R"([{"type":"function","function":{"name":"f"}}])");
  const auto told = Run(Call(Hello(), tools));
  const auto& answer = (*told)[0];
  EXPECT_EQ(answer.reasoning, "Let me see");
  EXPECT_EQ(answer.text, "Well.");
  EXPECT_EQ(answer.calls, "functions.f:0={\"a\": 1}");
  EXPECT_EQ(*answer.end->finish, ChatFinish::kToolCalls);
  EXPECT_EQ(answer.end->usage.reasoning_tokens, 10);
  EXPECT_EQ(answer.parts[static_cast<int>(TokenPart::kReasoning)], 10);
  EXPECT_EQ(answer.parts[static_cast<int>(TokenPart::kText)], 5);
  EXPECT_EQ(admission_.open(), 0);

  RequestLog log;
  NoteEnd(*answer.end, true, log);
  EXPECT_TRUE(log.generated);
  EXPECT_EQ(log.finish, "tool_calls");
  EXPECT_EQ(log.usage.completion_tokens, answer.end->usage.usage.completion_tokens);
}

TEST_F(ChatRunTest, InstantAnswersBeginWithText) {
  Answer("no reasoning");
  ChatCall call = Call(Hello());
  std::get<ChatPrompt>(call.prompt).options.thinking = false;
  const auto told = Run(std::move(call));
  EXPECT_EQ((*told)[0].text, "no reasoning");
  EXPECT_EQ((*told)[0].reasoning, "");
}

TEST_F(ChatRunTest, APartialMessageIsContinuedWhereItStopped) {
  Answer(" and so on");
  Json messages = Hello();
  messages.push_back({{"role", "assistant"}, {"content", "It goes"}, {"partial", true}});
  EXPECT_EQ((*Run(Call(messages)))[0].text, " and so on");
  messages[1] = {
      {"role", "assistant"}, {"content", ""}, {"reasoning_content", "hm"}, {"partial", true}};
  EXPECT_EQ((*Run(Call(messages)))[0].reasoning, " and so on") << "reasoning that was left open";
}

TEST_F(ChatRunTest, SeveralAnswersEndEachByItself) {
  Answer("x</think>abc");
  ChatCall call = Call(Hello());
  call.n = 3;
  const auto told = Run(std::move(call));
  for (int i = 0; i < 3; ++i) EXPECT_EQ((*told)[i].text, "abc");
  EXPECT_EQ(admission_.open(), 0);
}

TEST_F(ChatRunTest, IfOneOfSeveralCannotStartNoneIsHeardOf) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100),
          .max_queue = 2});
  ChatCall call = Call(Hello());
  call.n = 3;
  auto told = std::make_shared<Told>(3);
  const auto run = Start(std::move(call), told);
  EXPECT_EQ(run.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine_->HasFinished(2));
  EXPECT_EQ((*told)[0].text, "");
  for (int i = 0; i < 1000 && admission_.open() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(admission_.open(), 0);
}

TEST_F(ChatRunTest, ASinkThatRefusesCancelsTheRun) {
  Script({.answer = [](const std::string&) { return std::string(100000, 'x'); },
          .step_time = std::chrono::microseconds(100)});
  auto told = std::make_shared<Told>(1);
  told->StopAccepting();
  ASSERT_TRUE(Start(Call(Hello()), told).ok());
  EXPECT_TRUE(engine_->HasFinished(1));
  EXPECT_EQ(engine_->finished()[0], FinishReason::kCancelled);
  EXPECT_FALSE((*told)[0].end) << "nobody listens any more";
}

TEST_F(ChatRunTest, CancellingAnAgentEndsItsRunAndSiblingsGoOn) {
  Script({.answer = [](const std::string&) { return "</think>" + std::string(3000, 'x'); },
          .step_time = std::chrono::microseconds(200)});
  std::vector<std::shared_ptr<Told>> told;
  for (const char* agent : {"left", "right"}) {
    told.push_back(std::make_shared<Told>(1));
    tags_.task = "t";
    tags_.agent = agent;
    ASSERT_TRUE(Start(Call(Hello()), told.back()).ok());
  }
  ASSERT_EQ(*gate_.CancelTask({"user", false}, "t", "left"), 1);
  for (const auto& one : told) EXPECT_TRUE(one->WaitForEnd());
  EXPECT_EQ(*(*told[0])[0].end->finish, ChatFinish::kCancelled);
  EXPECT_EQ(*(*told[1])[0].end->finish, ChatFinish::kStop);
  EXPECT_EQ((*told[1])[0].text.size(), 3000u);
}

TEST_F(ChatRunTest, BadCallsAreNamedAndLeaveNoTrace) {
  Answer("x");
  const Json tools = Json::parse(R"([{"type":"function","function":{"name":"f"}}])");
  ChatCall named = Call(Hello(), tools);
  named.tool_choice = {ToolChoice::Kind::kNamed, "g"};
  ChatCall required = Call(Hello());
  required.tool_choice.kind = ToolChoice::Kind::kRequired;
  const std::pair<ChatCall, const char*> cases[] = {
      {Call(Json::array({{{"role", 3}, {"content", "x"}}})), "messages[0]"},
      {Call(Hello(), Json::parse(R"([{"type":"function"}])")), "tools[0].function.name"},
      {named, "tool_choice names the function \"g\""},
      {required, "tool_choice"},
  };
  for (const auto& [call, says] : cases) {
    const auto run = Start(call, std::make_shared<Told>(1));
    EXPECT_EQ(run.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(run.status().message()), HasSubstr(says));
  }
  EXPECT_EQ(admission_.open(), 0);
}

TEST_F(ChatRunTest, CallersDoNotShareTheirCacheAndTasksShareTheirTurn) {
  Answer("x");
  tags_.task = "t";
  ChatCall call = Call(Hello());
  call.cache_salt = "s";
  const auto one = PrepareChat(*context_, call, {"one", false}, tags_);
  const auto two = PrepareChat(*context_, call, {"two", false}, tags_);
  EXPECT_NE(one->request.cache_salt, two->request.cache_salt);
  EXPECT_NE(one->request.fair_share, two->request.fair_share);
  tags_.task = "u";
  const auto other_task = PrepareChat(*context_, call, {"one", false}, tags_);
  EXPECT_EQ(one->request.cache_salt, other_task->request.cache_salt);
  EXPECT_NE(one->request.fair_share, other_task->request.fair_share);
}

TEST_F(ChatRunTest, RulesFollowTheCall) {
  Answer("x");
  const Json tools = Json::parse(
      R"([{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object"}}},
          {"type":"function","function":{"name":"g"}}])");
  Json messages = Hello();
  messages.push_back(Json::parse(
      R"({"role":"assistant","content":"","tool_calls":[
          {"id":"functions.f:0","type":"function","function":{"name":"f","arguments":"{}"}},
          {"id":"functions.g:1","type":"function","function":{"name":"g","arguments":"{}"}}]})"));
  messages.push_back({{"role", "tool"}, {"tool_call_id", "functions.f:0"}, {"content", "r"}});
  ChatCall call = Call(messages, tools);
  auto chat = PrepareChat(*context_, call, {}, tags_);
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(chat->rules.tool_rule, ToolRule::kAuto);
  EXPECT_EQ(chat->rules.first_call_index, 2);
  EXPECT_TRUE(chat->rules.thinking);
  EXPECT_TRUE(chat->rules.tools[0].strict && !chat->rules.tools[1].strict);

  call.tool_choice = {ToolChoice::Kind::kNamed, "g"};
  chat = PrepareChat(*context_, call, {}, tags_);
  EXPECT_EQ(chat->rules.tool_rule, ToolRule::kRequired);
  ASSERT_EQ(chat->rules.tools.size(), 1u);
  EXPECT_EQ(chat->rules.tools[0].name, "g");

  call.tool_choice = {ToolChoice::Kind::kNone, ""};
  chat = PrepareChat(*context_, call, {}, tags_);
  EXPECT_EQ(chat->rules.tool_rule, ToolRule::kNone);
  EXPECT_TRUE(chat->has_rules);
  EXPECT_FALSE(PrepareChat(*context_, Call(Hello()), {}, tags_)->has_rules) << "left alone";
}

}  // namespace
}  // namespace tandem
