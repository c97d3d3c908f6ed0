// The course of answers: markers, names, counters, ends; with a small vocabulary.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "../engine_text/tiny_tokenizer.h"
#include "engine/constrain/answer_rules.h"
#include "random_answers.h"

namespace tandem::testing {
namespace {

class AnswerConstraintTest : public ::testing::Test {
 protected:
  std::shared_ptr<TokenConstraint> Compile(const AnswerRules& rules) {
    auto constraint = compiler_->Compile(rules);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return constraint.ok() ? *constraint : nullptr;
  }
  int32_t Id(std::string_view text) const { return tokenizer_->SpecialId(text).value(); }
  std::vector<int32_t> Allowed(TokenConstraint& constraint) const {
    std::vector<uint32_t> mask(MaskWords(tokenizer_->vocab_size()));
    EXPECT_TRUE(constraint.Next(mask));
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id)
      if (mask[id / 32] >> (id % 32) & 1) ids.push_back(id);
    return ids;
  }
  bool Allows(TokenConstraint& constraint, int32_t id) const {
    const auto ids = Allowed(constraint);
    return std::ranges::find(ids, id) != ids.end();
  }
  void Feed(TokenConstraint& constraint, std::string_view text) const {
    for (const int32_t id : tokenizer_->Encode(text, true)) {
      ASSERT_TRUE(Allows(constraint, id)) << text << ": " << id;
      ASSERT_TRUE(constraint.Accept(id).ok()) << text << ": " << id;
    }
  }

  std::unique_ptr<Tokenizer> tokenizer_ = MakeTinyTokenizer();
  std::vector<int32_t> end_ids_ = {tokenizer_->SpecialId("<|im_end|>").value(),
                                   tokenizer_->SpecialId("[EOS]").value()};
  std::unique_ptr<ConstraintCompiler> compiler_ = ConstraintCompiler::Create(*tokenizer_, end_ids_);
};

TEST_F(AnswerConstraintTest, PlainAnswersAreNotConstrained) {
  EXPECT_EQ(Compile({}), nullptr);
  EXPECT_EQ(Compile({.thinking = true}), nullptr);
  EXPECT_NE(Compile({.thinking = true, .max_reasoning_tokens = 5}), nullptr);
}

TEST_F(AnswerConstraintTest, WithoutCallsTheSectionCannotBegin) {
  const auto constraint = Compile({.tools = {{.name = "f"}}});
  EXPECT_FALSE(Allows(*constraint, Id("<|tool_calls_section_begin|>")));
  EXPECT_FALSE(Allows(*constraint, Id("<|tool_call_begin|>")));
  Feed(*constraint, "Some text.<|im_end|>");
  std::vector<uint32_t> mask(MaskWords(tokenizer_->vocab_size()));
  EXPECT_FALSE(constraint->Next(mask)) << "behind the end anything goes";
}

TEST_F(AnswerConstraintTest, ReasoningIsForcedToItsEnd) {
  const auto constraint = Compile({.thinking = true, .max_reasoning_tokens = 3});
  Feed(*constraint, "\x01\x02\x03");
  EXPECT_EQ(Allowed(*constraint), std::vector<int32_t>{Id("</think>")});
  Feed(*constraint, "</think>x<|im_end|>");
}

TEST_F(AnswerConstraintTest, ACallMayOpenInsideReasoning) {
  const auto constraint =
      Compile({.thinking = true, .tool_rule = ToolRule::kAuto, .tools = {{.name = "f"}}});
  Feed(*constraint, "hm<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0");
}

TEST_F(AnswerConstraintTest, RequiredCallsFollowTheFormat) {
  const auto constraint = Compile({.thinking = true,
                                   .tool_rule = ToolRule::kRequired,
                                   .tools = {{.name = "get.a-b"}, {.name = "get"}},
                                   .first_call_index = 12});
  Feed(*constraint, "why</think>");
  EXPECT_EQ(Allowed(*constraint), std::vector<int32_t>{Id("<|tool_calls_section_begin|>")});
  Feed(*constraint, "<|tool_calls_section_begin|>");
  EXPECT_EQ(Allowed(*constraint), std::vector<int32_t>{Id("<|tool_call_begin|>")});
  Feed(*constraint, "<|tool_call_begin|>functions.get");
  const auto next = Allowed(*constraint);
  for (const int32_t id : next) {
    const std::string bytes = tokenizer_->DecodeBytes({&id, 1}, false);
    EXPECT_TRUE(std::string(".a-b:12").starts_with(bytes) || std::string(":12").starts_with(bytes))
        << bytes;
  }
  Feed(*constraint, ".a-b:12<|tool_call_argument_begin|>{\"x\": [1, 2]}<|tool_call_end|>");
  EXPECT_TRUE(Allows(*constraint, Id("<|tool_calls_section_end|>")));
  Feed(*constraint, "<|tool_call_begin|>functions.get:13<|tool_call_argument_begin|>{}");
  Feed(*constraint, "<|tool_call_end|><|tool_calls_section_end|>");
  EXPECT_EQ(Allowed(*constraint).size(), end_ids_.size());
  Feed(*constraint, "<|im_end|>");
}

TEST_F(AnswerConstraintTest, OneCallWithoutParallelCalls) {
  const auto constraint = Compile(
      {.tool_rule = ToolRule::kRequired, .tools = {{.name = "f"}}, .parallel_calls = false});
  Feed(*constraint,
       "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
       "<|tool_call_argument_begin|>{}<|tool_call_end|>");
  EXPECT_EQ(Allowed(*constraint), std::vector<int32_t>{Id("<|tool_calls_section_end|>")});
}

TEST_F(AnswerConstraintTest, JsonBeginsBehindTheReasoningAndEndsWhenComplete) {
  const auto constraint = Compile({.thinking = true, .text = TextRule::kJsonObject});
  EXPECT_FALSE(Allows(*constraint, Id("<|im_end|>")));
  Feed(*constraint, "not json</think>");
  Feed(*constraint, "{\"a\": {\"b\": [true, null, -1.5e3, \"\\u00e9\"]}");
  EXPECT_FALSE(Allows(*constraint, Id("<|im_end|>")));
  EXPECT_FALSE(Allows(*constraint, Id("</think>")));
  Feed(*constraint, "}");
  EXPECT_EQ(Allowed(*constraint).size(), end_ids_.size());
}

TEST_F(AnswerConstraintTest, JsonOrCallsWithAuto) {
  const AnswerRules rules{
      .text = TextRule::kJsonObject, .tool_rule = ToolRule::kAuto, .tools = {{.name = "f"}}};
  auto constraint = Compile(rules);
  EXPECT_TRUE(Allows(*constraint, Id("<|tool_calls_section_begin|>")));
  Feed(*constraint, "{");
  EXPECT_FALSE(Allows(*constraint, Id("<|tool_calls_section_begin|>")));
  Feed(*constraint, "}<|tool_calls_section_begin|>");
  constraint = Compile(rules);
  Feed(*constraint, "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0");
}

TEST_F(AnswerConstraintTest, WhatWasNotAllowedIsAnError) {
  const auto constraint = Compile({.text = TextRule::kJsonObject});
  EXPECT_EQ(constraint->Accept('x').code(), absl::StatusCode::kInternal);
}

TEST_F(AnswerConstraintTest, RandomModelsKeepToTheFormatOfCalls) {
  RandomModel model(*tokenizer_, 1.0f, 7);
  int ended = 0;
  for (int i = 0; i < 100; ++i) {
    const auto constraint = Compile({.tool_rule = ToolRule::kRequired,
                                     .tools = {{.name = "a.b"}, {.name = "c-d"}},
                                     .first_call_index = i});
    const RandomAnswer got = model.Answer(*constraint, end_ids_, 4000);
    ASSERT_TRUE(got.status.ok()) << got.status << "\n" << got.text;
    if (!got.ended) continue;
    ++ended;
    EXPECT_EQ(got.text.find("<|tool_calls_section_begin|><|tool_call_begin|>functions."), 0);
    EXPECT_TRUE(got.text.ends_with("<|tool_call_end|><|tool_calls_section_end|>"));
    EXPECT_NE(got.text.find(":" + std::to_string(i) + "<|tool_call_argument_begin|>"),
              std::string::npos);
  }
  EXPECT_GE(ended, 95);
}

}  // namespace
}  // namespace tandem::testing
