// Answers taken apart, whatever way they are cut and whatever the model gets wrong.
//
// answer_corpus.jsonl: answers and what they are made of, with thinking and without. In it, [S] and
// [/S] stand for the markers of a section of calls, [s] and [/s] for these in the singular (which
// are no tokens), [C] [A] [/C] for a call's, [E] for the end token. What they are made of: R(...)
// reasoning, T(...) text, C(id,name) a call, A(...) its arguments.
#include "engine/text/output_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using Kind = AnswerPiece::Kind;

struct Case {
  std::string name, answer, instant, thinking;
};

std::vector<Case> Corpus() {
  const char* source = std::getenv("TANDEM_SOURCE_DIR");
  std::ifstream file(std::string(source ? source : ".") + "/tests/service/answer_corpus.jsonl");
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line);
    cases.push_back({json["name"],
                     absl::StrReplaceAll(json["answer"].get<std::string>(),
                                         {{"[S]", "<|tool_calls_section_begin|>"},
                                          {"[/S]", "<|tool_calls_section_end|>"},
                                          {"[s]", "<|tool_call_section_begin|>"},
                                          {"[/s]", "<|tool_call_section_end|>"},
                                          {"[C]", "<|tool_call_begin|>"},
                                          {"[A]", "<|tool_call_argument_begin|>"},
                                          {"[/C]", "<|tool_call_end|>"},
                                          {"[E]", "<|im_end|>"}}),
                     json["instant"], json["thinking"]});
  }
  return cases;
}

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

// An answer as its tokens, and what text the engine reports with each.
struct Tokens {
  explicit Tokens(const std::string& answer) {
    const FakeTokenizer tokenizer;
    Utf8Stream utf8;
    for (const int32_t id : tokenizer.Encode(answer, /*parse_special=*/true)) {
      ids.push_back({id, 0, {}});
      texts.push_back(utf8.Push(tokenizer.DecodeBytes({&id, 1}, /*skip_special=*/true)));
    }
    rest = utf8.Finish();
    for (const std::string& text : texts) all += text;
    all += rest;
  }
  std::string TextOf(size_t begin, size_t end) const {
    std::string text;
    for (size_t i = begin; i < end; ++i) text += texts[i];
    return end == ids.size() ? text + rest : text;
  }

  std::vector<GeneratedToken> ids;
  std::vector<std::string> texts;
  std::string rest, all;
};

class Parse {
 public:
  explicit Parse(bool thinking, bool cut = true)
      : cut_(cut), parser_(tokenizer_, thinking, /*first_call_index=*/7) {}
  void Push(std::span<const GeneratedToken> tokens, std::string_view text) {
    Take(parser_.Push(tokens, text));
  }
  std::string Finish() {
    Take(parser_.Finish(cut_));
    return Line(pieces_);
  }
  OutputParser& parser() { return parser_; }

 private:
  void Take(std::vector<AnswerPiece> pieces) {
    for (AnswerPiece& piece : pieces) {
      // An empty piece would be an event that says nothing.
      EXPECT_TRUE(piece.kind == Kind::kToolCall || !piece.text.empty());
      pieces_.push_back(std::move(piece));
    }
  }

  const bool cut_;
  const FakeTokenizer tokenizer_;
  OutputParser parser_;
  std::vector<AnswerPiece> pieces_;
};

// Events that end behind these tokens (ascending), with the text that belongs to them.
std::string CutAtTokens(const Tokens& answer, bool thinking, std::vector<size_t> cuts) {
  Parse parse(thinking);
  cuts.push_back(answer.ids.size());
  size_t begin = 0;
  for (const size_t end : cuts) {
    parse.Push({answer.ids.data() + begin, end - begin}, answer.TextOf(begin, end));
    begin = end;
  }
  return parse.Finish();
}

// All tokens first, their text later, cut behind these bytes.
std::string CutText(const Tokens& answer, bool thinking, std::vector<size_t> cuts) {
  Parse parse(thinking);
  parse.Push(answer.ids, "");
  cuts.push_back(answer.all.size());
  size_t begin = 0;
  for (const size_t end : cuts) {
    parse.Push({}, std::string_view(answer.all).substr(begin, end - begin));
    begin = end;
  }
  return parse.Finish();
}

constexpr size_t kShort = 48;  // tokens; or bytes of text, twice as many: all pairs of cuts

TEST(OutputParserTest, TakesAnswersApartHoweverTheirTokensAreCut) {
  const std::vector<Case> corpus = Corpus();
  ASSERT_GE(corpus.size(), 50u);
  for (const Case& c : corpus) {
    const Tokens answer(c.answer);
    const size_t n = answer.ids.size();
    for (const bool thinking : {false, true}) {
      const std::string expected = thinking ? c.thinking : c.instant;
      ASSERT_EQ(CutAtTokens(answer, thinking, {}), expected) << c.name << " " << thinking;
      std::vector<size_t> every;
      for (size_t i = 0; i <= n; ++i) {
        every.push_back(i);
        ASSERT_EQ(CutAtTokens(answer, thinking, {i}), expected) << c.name << ", cut at " << i;
        for (size_t j = i; n <= kShort && j <= n; ++j)
          ASSERT_EQ(CutAtTokens(answer, thinking, {i, j}), expected)
              << c.name << ", cut at " << i << ", " << j;
      }
      ASSERT_EQ(CutAtTokens(answer, thinking, every), expected) << c.name << ", every token";
    }
  }
}

TEST(OutputParserTest, TakesAnswersApartHoweverTheirTextIsCut) {
  for (const Case& c : Corpus()) {
    const Tokens answer(c.answer);
    const size_t n = answer.all.size();
    for (const bool thinking : {false, true}) {
      const std::string expected = thinking ? c.thinking : c.instant;
      std::vector<size_t> every;
      for (size_t i = 0; i <= n; ++i) {
        every.push_back(i);
        ASSERT_EQ(CutText(answer, thinking, {i}), expected) << c.name << ", cut at " << i;
        for (size_t j = i; n <= 2 * kShort && j <= n; ++j)
          ASSERT_EQ(CutText(answer, thinking, {i, j}), expected)
              << c.name << ", cut at " << i << ", " << j;
      }
      ASSERT_EQ(CutText(answer, thinking, every), expected) << c.name << ", every byte";
    }
  }
}

TEST(OutputParserTest, BrokenUtf8AroundMarkers) {
  for (const auto& [answer, expected] : std::vector<std::pair<std::string, std::string>>{
           {"a\xE2\x82</think>b\xFF", "R(a\xEF\xBF\xBD) T(b\xEF\xBF\xBD)"},
           {"\xE2\x82<|im_end|>\xAC</think>x", "R(\xE2\x82\xAC) T(x)"}}) {
    const Tokens tokens(answer);
    for (size_t i = 0; i <= tokens.ids.size(); ++i)
      EXPECT_EQ(CutAtTokens(tokens, true, {i}), expected) << i;
  }
}

TEST(OutputParserTest, LongArgumentsArriveWhole) {
  const std::string json = "{\"text\":\"" + std::string(300'000, 'x') + "\"}";
  const Tokens answer("<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>" + json +
                      "<|tool_call_end|>");
  std::vector<size_t> every(answer.ids.size());
  for (size_t i = 0; i < every.size(); ++i) every[i] = i;
  EXPECT_EQ(CutAtTokens(answer, false, every), "C(functions.f:0,f) A(" + json + ")");
}

TEST(OutputParserTest, MarkersSpeltInOrdinaryTokensAreText) {
  const FakeTokenizer tokenizer;
  const std::string text = "say </think> or <|tool_call_begin|>";
  std::vector<GeneratedToken> tokens;
  for (int32_t id : tokenizer.Encode(text, /*parse_special=*/false)) tokens.push_back({id, 0, {}});
  Parse parse(/*thinking=*/true);
  parse.Push(tokens, text);
  EXPECT_EQ(parse.Finish(), "R(" + text + ")");
}

int32_t CompleteCalls(const std::string& text, bool cut) {
  const Tokens answer(text);
  Parse parse(/*thinking=*/false, cut);
  parse.Push(answer.ids, answer.all);
  parse.Finish();
  return parse.parser().complete_calls();
}

TEST(OutputParserTest, CountsCompleteCallsOnly) {
  const std::string begin =
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>";
  EXPECT_EQ(CompleteCalls(begin + "{}", /*cut=*/true), 0);
  EXPECT_EQ(CompleteCalls(begin + "{}", /*cut=*/false), 1);  // the model was done
  EXPECT_EQ(CompleteCalls(begin + "{}<|tool_call_end|><|tool_call_begin|>functions.f:1", true), 1);
  EXPECT_EQ(CompleteCalls(begin + "{}<|tool_call_end|><|tool_call_begin|>functions.f:1", false), 2);
}

TEST(CallIdsTest, NamesOfCallIds) {
  EXPECT_EQ(ToolNameOfCallId("functions.get_weather:0"), "get_weather");
  EXPECT_EQ(ToolNameOfCallId("functions.functions.a:b:3"), "functions.a:b");
  EXPECT_EQ(ToolNameOfCallId("bare"), "bare");
  EXPECT_EQ(ToolNameOfCallId("odd:"), "odd:");
  EXPECT_EQ(ToolNameOfCallId(""), "");
  EXPECT_TRUE(IsNativeCallId("functions.a-b:17"));
  for (const char* id : {"functions.:0", "functions.f", "functions.f:", "f:0", "call_1", ""})
    EXPECT_FALSE(IsNativeCallId(id)) << id;
}

// Two turns of calls, each answered; ids as given.
std::vector<ChatMessage> Turns(const std::vector<std::vector<std::string>>& turns) {
  std::vector<ChatMessage> messages;
  for (const auto& ids : turns) {
    ChatMessage& assistant = messages.emplace_back();
    assistant.role = "assistant";
    for (const std::string& id : ids) assistant.tool_calls.push_back({id, "f", "{}"});
    for (const std::string& id : ids) {
      ChatMessage& tool = messages.emplace_back();
      tool.role = "tool";
      tool.tool_call_id = id;
    }
  }
  return messages;
}

std::string IdsOf(const std::vector<ChatMessage>& messages) {
  std::string ids;
  for (const ChatMessage& message : messages) {
    for (const ChatToolCall& call : message.tool_calls) ids += call.id + " ";
    if (!message.tool_call_id.empty()) ids += "->" + message.tool_call_id + " ";
  }
  return ids;
}

TEST(CallIdsTest, ForeignIdsBecomeNativeAndNativeOnesStay) {
  struct {
    std::vector<std::vector<std::string>> turns;
    const char* ids;
  } cases[] = {
      {{{"call_a", "call_b"}, {"call_c"}},
       "functions.f:0 functions.f:1 ->functions.f:0 ->functions.f:1 functions.f:2 "
       "->functions.f:2 "},
      // The same id in two turns: the answer goes to the latest call.
      {{{"x"}, {"x"}}, "functions.f:0 ->functions.f:0 functions.f:1 ->functions.f:1 "},
      {{{"functions.f:4"}, {"functions.f:4"}},
       "functions.f:4 ->functions.f:4 functions.f:4 ->functions.f:4 "},
      // A number that a native id has already is not given twice.
      {{{"functions.f:1"}, {"toolu_1"}},
       "functions.f:1 ->functions.f:1 functions.f:2 ->functions.f:2 "},
      {{{"f:0"}}, "functions.f:0 ->functions.f:0 "},
  };
  for (const auto& c : cases) {
    std::vector<ChatMessage> messages = Turns(c.turns);
    NormaliseCallIds(messages);
    EXPECT_EQ(IdsOf(messages), c.ids);
  }
}

}  // namespace
}  // namespace tandem
