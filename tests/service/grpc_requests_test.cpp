// Requests of the wire as chat calls.
#include "service/grpc/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "service/grpc/answers.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using testing::HasSubstr;

class GrpcRequestsTest : public testing::Test {
 protected:
  GrpcRequestsTest() {
    v1::ChatMessage& message = *chat_.mutable_conversation()->add_messages();
    message.set_role(v1::ROLE_USER);
    message.add_content()->set_text("hello");
  }
  absl::StatusOr<ChatCall> Convert() const { return ToChatCall(chat_, tokenizer_, limits_); }
  std::string Refusal() const {
    const auto call = Convert();
    EXPECT_EQ(call.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(call.status().message());
  }

  FakeTokenizer tokenizer_;
  Limits limits_;
  v1::ChatRequest chat_;
};

TEST_F(GrpcRequestsTest, WhatIsLeftOutIsTheDocumentedDefault) {
  const auto call = Convert();
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->temperature, 1.0f);
  EXPECT_EQ(call->top_p, 1.0f);
  EXPECT_EQ(call->tool_choice.kind, ToolChoice::Kind::kAuto);
  EXPECT_EQ(call->text_rule, TextRule::kFree);
  EXPECT_TRUE(call->parallel_calls);
  EXPECT_EQ(call->max_reasoning_tokens, 0);
  EXPECT_TRUE(std::get<ChatPrompt>(call->prompt).options.thinking);
}

TEST_F(GrpcRequestsTest, ToolChoices) {
  v1::Tool& tool = *chat_.mutable_conversation()->add_tools();
  tool.set_name("f");
  tool.set_strict(true);
  chat_.mutable_tool_choice()->set_mode(v1::TOOL_CHOICE_REQUIRED);
  chat_.set_parallel_tool_calls(false);
  auto call = Convert();
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->tool_choice.kind, ToolChoice::Kind::kRequired);
  EXPECT_FALSE(call->parallel_calls);
  EXPECT_EQ(std::get<ChatPrompt>(call->prompt).tools[0]["function"]["strict"], true);

  chat_.mutable_tool_choice()->set_name("f");
  call = Convert();
  EXPECT_EQ(call->tool_choice.kind, ToolChoice::Kind::kNamed);
  EXPECT_EQ(call->tool_choice.name, "f");
  chat_.mutable_tool_choice()->set_mode(v1::TOOL_CHOICE_NONE);
  EXPECT_EQ(Convert()->tool_choice.kind, ToolChoice::Kind::kNone);
  chat_.mutable_tool_choice()->set_mode(static_cast<v1::ToolChoiceMode>(9));
  EXPECT_THAT(Refusal(), HasSubstr("tool_choice.mode is 9"));
}

TEST_F(GrpcRequestsTest, ResponseFormats) {
  chat_.mutable_response_format()->set_json_object(true);
  EXPECT_EQ(Convert()->text_rule, TextRule::kJsonObject);
  chat_.mutable_response_format()->set_json_schema(R"({"type": "integer"})");
  const auto call = Convert();
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->text_rule, TextRule::kJsonSchema);
  EXPECT_EQ(call->text_schema["type"], "integer");
  for (const char* bad : {"", "{", "{\"a\":1,\"a\":2}"}) {
    chat_.mutable_response_format()->set_json_schema(bad);
    EXPECT_THAT(Refusal(), HasSubstr("response_format.json_schema"));
  }
}

TEST_F(GrpcRequestsTest, ReasoningIsBounded) {
  chat_.set_max_reasoning_tokens(40);
  EXPECT_EQ(Convert()->max_reasoning_tokens, 40);
  chat_.set_max_reasoning_tokens(-1);
  EXPECT_THAT(Refusal(), HasSubstr("max_reasoning_tokens is -1"));
}

TEST_F(GrpcRequestsTest, UpdatesThatWaitAreSentAsOne) {
  ChatUpdate first, second;
  first.pieces = {{AnswerPiece::Kind::kReasoning, "hm", 0, "", ""}};
  first.tokens = {{{5, -1, {}}, TokenPart::kReasoning}};
  second.pieces = {{AnswerPiece::Kind::kText, "well", 0, "", ""}};
  second.finish = ChatFinish::kLength;
  second.usage.usage.cached_tokens = 64;
  second.usage.reasoning_tokens = 1;
  ChatUpdate merged;
  EXPECT_GT(Merge(first, merged), 0);
  Merge(second, merged);
  const v1::ChatEvent event = ToChatEvent(merged, tokenizer_, TokenDetail::kIds);
  EXPECT_EQ(event.reasoning(), "hm");
  EXPECT_EQ(event.text(), "well");
  EXPECT_EQ(event.tokens_size(), 1);
  EXPECT_EQ(event.finish().reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(event.finish().usage().cached_tokens(), 64);
  EXPECT_EQ(event.finish().usage().reasoning_tokens(), 1);
}

TEST_F(GrpcRequestsTest, AnAnswerThatWasCutShortHasNoFinish) {
  for (const ChatFinish finish :
       {ChatFinish::kCancelled, ChatFinish::kDeadline, ChatFinish::kError}) {
    ChatUpdate update;
    update.finish = finish;
    EXPECT_FALSE(SaysSomething(ToChatEvent(update, tokenizer_, TokenDetail::kNone)));
  }
}

}  // namespace
}  // namespace tandem
