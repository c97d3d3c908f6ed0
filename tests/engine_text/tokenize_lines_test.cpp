#include "tools/tokenize_lines.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/engine_text/tiny_tokenizer.h"

namespace tandem {
namespace {

struct Outcome {
  std::string out, errors;
  int n_bad = 0;
};

Outcome Tokenize(const TokenizeLinesOptions& options, const std::string& input) {
  static const std::unique_ptr<Tokenizer> tokenizer = testing::MakeTinyTokenizer();
  std::istringstream in(input);
  std::ostringstream out, errors;
  const int n_bad = TokenizeLines(*tokenizer, options, in, out, errors);
  return {out.str(), errors.str(), n_bad};
}

TEST(TokenizeLines, TextsAndBadLines) {
  const Outcome outcome = Tokenize({},
                                   "{\"text\": \"hello world\"}\n\nno json\n{\"text\": 5}\n{}\n"
                                   "{\"text\": \"\"}");
  EXPECT_EQ(outcome.out,
            "{\"text\":\"hello world\",\"ids\":[259,263]}\n{\"text\":\"\",\"ids\":[]}\n");
  EXPECT_EQ(outcome.errors,
            "line 3: not a JSON object\nline 4: text: expected a string, found number\n"
            "line 5: text: missing\n");
  EXPECT_EQ(outcome.n_bad, 3);
}

TEST(TokenizeLines, ControlTextOnlyOnRequest) {
  const std::string line = "{\"text\": \"<|im_end|>\"}";
  const std::string id = std::to_string(testing::TinyTokens().size() + 2);
  EXPECT_EQ(Tokenize({.parse_special = true}, line).out,
            "{\"text\":\"<|im_end|>\",\"ids\":[" + id + "]}\n");
  EXPECT_EQ(Tokenize({}, line).out.find(id), std::string::npos);
}

TEST(TokenizeLines, Chats) {
  const TokenizeLinesOptions chat{.chat = true};
  const Outcome outcome =
      Tokenize(chat,
               "{\"messages\": [], \"thinking\": false}\n{\"text\": \"x\"}\n"
               "{\"messages\": [{}], \"tools\": null}\n{\"messages\": [], \"thinking\": 1}\n"
               "{\"messages\": [], \"add_generation_prompt\": false}\n");
  EXPECT_EQ(outcome.out.substr(0, outcome.out.find(",\"ids\"")),
            "{\"text\":\"<|im_assistant|>assistant<|im_middle|><think></think>\"");
  EXPECT_NE(outcome.out.find("{\"text\":\"\",\"ids\":[]}\n"), std::string::npos);
  EXPECT_EQ(outcome.errors,
            "line 2: messages: missing\nline 3: messages[0].role: missing or empty\n"
            "line 4: thinking: expected true or false, found number\n");
}

TEST(TokenizeLines, TheStyleComesFromTheFolder) {
  const std::unique_ptr<Tokenizer> tokenizer = testing::MakeTinyTokenizer();
  const testing::TempFolder folder;
  EXPECT_EQ(ChatStyleOfFolder(folder.path(), *tokenizer).value(), ChatStyle::kK26);
  folder.Write("config.json", "{\"model_type\": \"kimi_k2\"}");
  EXPECT_EQ(ChatStyleOfFolder(folder.path(), *tokenizer).value(), ChatStyle::kK2Thinking);
  folder.Write("config.json", "[1");
  EXPECT_FALSE(ChatStyleOfFolder(folder.path(), *tokenizer).ok());
}

}  // namespace
}  // namespace tandem
