// Answers taken apart, whatever way the text is cut and whatever the model gets wrong.
#include "engine/text/output_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using Kind = AnswerPiece::Kind;

// All pieces in one line: "R(...)" reasoning, "T(...)" text, "C(id,name)" call, "A(...)" arguments.
std::string Line(const std::vector<AnswerPiece>& pieces) {
  std::string line;
  Kind open = Kind::kToolCall;
  for (const AnswerPiece& piece : pieces) {
    if (piece.kind == Kind::kToolCall) {
      line += " C(" + piece.call_id + "," + piece.call_name;
    } else if (piece.kind != open) {
      line += piece.kind == Kind::kReasoning ? " R(" : piece.kind == Kind::kText ? " T(" : " A(";
    } else {
      line.pop_back();  // goes on
    }
    line += piece.text + ")";
    open = piece.kind;
  }
  return line.empty() ? line : line.substr(1);
}

// Reports text `lag` tokens later than their ids, `burst` tokens at a time.
std::string Parse(const std::string& answer, bool thinking, int burst = 1, int lag = 0) {
  const FakeTokenizer tokenizer;
  const std::vector<int32_t> ids = tokenizer.Encode(answer, /*parse_special=*/true);
  OutputParser parser(tokenizer, thinking);
  std::vector<AnswerPiece> pieces;
  Utf8Stream utf8;
  std::vector<std::string> late;
  const auto push = [&](const std::vector<GeneratedToken>& tokens, size_t keep) {
    std::string text;
    while (late.size() > keep) {
      text += late.front();
      late.erase(late.begin());
    }
    for (AnswerPiece& piece : parser.Push(tokens, text)) pieces.push_back(std::move(piece));
  };
  for (size_t i = 0; i < ids.size(); i += burst) {
    std::vector<GeneratedToken> tokens;
    for (size_t j = i; j < std::min(ids.size(), i + burst); ++j) {
      tokens.push_back({ids[j], 0, {}});
      late.push_back(utf8.Push(tokenizer.DecodeBytes({&ids[j], 1}, /*skip_special=*/true)));
    }
    push(tokens, lag);
  }
  late.push_back(utf8.Finish());
  push({}, 0);
  return Line(pieces);
}

struct Case {
  const char* name;
  std::string answer, instant, thinking;
};

std::vector<Case> Cases() {
  const std::string section = "<|tool_calls_section_begin|>",
                    section_end = "<|tool_calls_section_end|>";
  const std::string call = "<|tool_call_begin|>", arguments = "<|tool_call_argument_begin|>",
                    call_end = "<|tool_call_end|>";
  return {
      {"reasoning", "why</think>so<|im_end|>", "T(whyso)", "R(why) T(so)"},
      {"cut in reasoning", "why", "T(why)", "R(why)"},
      {"empty reasoning", "</think>so", "T(so)", "T(so)"},
      {"opens its own reasoning", "<think>why</think>so", "R(why) T(so)", "R(why) T(so)"},
      {"two ends", "a</think>b</think>c", "T(abc)", "R(a) T(bc)"},
      {"a call", "x" + section + call + "functions.f:0" + arguments + "{}" + call_end + section_end,
       "T(x) C(functions.f:0,f) A({})", "R(x) C(functions.f:0,f) A({})"},
      {"spaces in the header",
       section + call + "\n functions.a-b.c:12 " + arguments + "{ }" + call_end,
       "C(functions.a-b.c:12,a-b.c) A({ })", "C(functions.a-b.c:12,a-b.c) A({ })"},
      {"no arguments", section + call + "f:0" + call_end + section_end, "C(f:0,f) A({})",
       "C(f:0,f) A({})"},
      {"no section", call + "f:0" + arguments + "1" + call_end, "C(f:0,f) A(1)", "C(f:0,f) A(1)"},
      {"a call closed by the section",
       section + call + "f:0" + arguments + "1" + section_end + "after", "C(f:0,f) A(1)",
       "C(f:0,f) A(1)"},
      {"a call closed by the next",
       section + call + "f:0" + arguments + "1" + call + "g:1" + arguments + "2" + call_end,
       "C(f:0,f) A(1) C(g:1,g) A(2)", "C(f:0,f) A(1) C(g:1,g) A(2)"},
      {"cut in arguments", section + call + "f:0" + arguments + "{\"a", "C(f:0,f) A({\"a)",
       "C(f:0,f) A({\"a)"},
      {"markers in arguments", section + call + "f:0" + arguments + "\"</think>\"" + call_end,
       "C(f:0,f) A(\"</think>\")", "C(f:0,f) A(\"</think>\")"},
      {"broken UTF-8 before a marker", "a\xE2\x82</think>b\xFF",
       "T(a\xEF\xBF\xBD"
       "b\xEF\xBF\xBD)",
       "R(a\xEF\xBF\xBD) T(b\xEF\xBF\xBD)"},
      {"UTF-8 around a dropped token", "\xE2\x82<|im_end|>\xAC</think>x", "T(\xE2\x82\xACx)",
       "R(\xE2\x82\xAC) T(x)"},
  };
}

TEST(OutputParserTest, TakesAnswersApartHoweverTheyAreCut) {
  for (const Case& c : Cases()) {
    for (int burst : {1, 2, 3, 7, 1000}) {
      for (int lag : {0, 1, 5, 1000}) {
        EXPECT_EQ(Parse(c.answer, false, burst, lag), c.instant)
            << c.name << ", instant, burst " << burst << ", lag " << lag;
        EXPECT_EQ(Parse(c.answer, true, burst, lag), c.thinking)
            << c.name << ", thinking, burst " << burst << ", lag " << lag;
      }
    }
  }
}

TEST(OutputParserTest, MarkersSpeltInOrdinaryTokensAreText) {
  const FakeTokenizer tokenizer;
  OutputParser parser(tokenizer, /*thinking=*/true);
  const std::string text = "say </think> or <|tool_call_begin|>";
  std::vector<GeneratedToken> tokens;
  for (int32_t id : tokenizer.Encode(text, /*parse_special=*/false)) tokens.push_back({id, 0, {}});
  EXPECT_EQ(Line(parser.Push(tokens, text)), "R(" + text + ")");
}

TEST(OutputParserTest, CountsCompleteCallsOnly) {
  const FakeTokenizer tokenizer;
  OutputParser parser(tokenizer, /*thinking=*/false);
  const auto push = [&](const std::string& text) {
    std::vector<GeneratedToken> tokens;
    for (int32_t id : tokenizer.Encode(text, /*parse_special=*/true)) tokens.push_back({id, 0, {}});
    parser.Push(tokens, text);
  };
  push("<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{}");
  EXPECT_EQ(parser.complete_calls(), 0);
  push("<|tool_call_end|><|tool_call_begin|>f:1<|tool_call_argument_begin|>{\"");
  EXPECT_EQ(parser.complete_calls(), 1);
}

TEST(OutputParserTest, NamesOfCallIds) {
  EXPECT_EQ(ToolNameOfCallId("functions.get_weather:0"), "get_weather");
  EXPECT_EQ(ToolNameOfCallId("functions.functions.a:b:3"), "functions.a:b");
  EXPECT_EQ(ToolNameOfCallId("bare"), "bare");
  EXPECT_EQ(ToolNameOfCallId("odd:"), "odd:");
  EXPECT_EQ(ToolNameOfCallId(""), "");
}

}  // namespace
}  // namespace tandem
