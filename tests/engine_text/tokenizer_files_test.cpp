// Every malformed file gives an error that names it and what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/text/tokenizer.h"
#include "tests/engine_text/tiny_tokenizer.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using testing::KimiNames;
using testing::TempFolder;
using testing::TiktokenLines;
using testing::TinyTokens;
using testing::TokenizerConfig;

const int kBase = static_cast<int>(TinyTokens().size());

absl::Status LoadWith(const std::string& model, const std::string& config) {
  const TempFolder folder;
  folder.Write("tiktoken.model", model);
  folder.Write("tokenizer_config.json", config);
  return Tokenizer::Load(folder.path()).status();
}

void ExpectModelError(const std::string& model, const std::string& what) {
  const absl::Status status = LoadWith(model, TokenizerConfig(KimiNames(kBase)));
  ASSERT_FALSE(status.ok()) << what;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tiktoken.model"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(what));
}

void ExpectConfigError(const std::string& config, const std::string& what) {
  const absl::Status status = LoadWith(TiktokenLines(TinyTokens()), config);
  ASSERT_FALSE(status.ok()) << what;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer_config.json"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(what));
}

// The good model with line `line` (from 1) replaced.
std::string WithLine(int line, const std::string& replacement) {
  std::string model = TiktokenLines(TinyTokens());
  size_t begin = 0;
  for (int i = 1; i < line; ++i) begin = model.find('\n', begin) + 1;
  return model.replace(begin, model.find('\n', begin) - begin, replacement);
}

TEST(TokenizerFiles, GoodFilesLoadWithAndWithoutFinalNewline) {
  std::string model = TiktokenLines(TinyTokens());
  const std::string config = TokenizerConfig(KimiNames(kBase));
  EXPECT_TRUE(LoadWith(model, config).ok());
  model.pop_back();
  EXPECT_TRUE(LoadWith(model, config).ok());
}

TEST(TokenizerFiles, MissingFilesAreNamed) {
  const TempFolder folder;
  absl::Status status = Tokenizer::Load(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tiktoken.model"));
  folder.Write("tiktoken.model", TiktokenLines(TinyTokens()));
  status = Tokenizer::Load(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer_config.json"));
}

TEST(TokenizerFiles, BadModelLines) {
  ExpectModelError("", "each of the 256 bytes");
  ExpectModelError("IQ== 0\n", "found none for byte 0 among 1 tokens");
  ExpectModelError(WithLine(7, "IQ=="), "line 7: expected \"BASE64 RANK\"");
  ExpectModelError(WithLine(7, ""), "line 7: expected \"BASE64 RANK\"");
  ExpectModelError(WithLine(9, "I*== 8"), "line 9: the token is not base64");
  ExpectModelError(WithLine(9, " 8"), "line 9: the token is not base64");
  ExpectModelError(WithLine(9, "IQ= 8"), "line 9: the token is not base64");
  ExpectModelError(WithLine(9, "I=Q= 8"), "line 9: the token is not base64");
  ExpectModelError(WithLine(12, "IQ== 12"), "line 12: expected rank 11, found \"12\"");
  ExpectModelError(WithLine(12, "IQ== eleven"), "line 12: expected rank 11, found \"eleven\"");
  ExpectModelError(WithLine(12, "IQ== 11 "), "line 12: expected rank 11");
  ExpectModelError(WithLine(12, "IQ== 99999999999999999999"), "line 12: expected rank 11");
  ExpectModelError(WithLine(257, "AA== 256"), "line 257: this token is already");
}

// A token may be of any bytes and length; one of none is no token.
TEST(TokenizerFiles, OddTokens) {
  const std::string config = TokenizerConfig(KimiNames(kBase + 3));
  auto tokens = TinyTokens();
  tokens.push_back(std::string(1 << 20, 'a'));
  tokens.push_back("\xff\xfe\xc0");
  tokens.push_back(std::string("\0\0", 2));
  const TempFolder folder;
  folder.Write("tiktoken.model", TiktokenLines(tokens));
  folder.Write("tokenizer_config.json", config);
  const auto tokenizer = Tokenizer::Load(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (int32_t id = kBase; id < kBase + 3; ++id)
    EXPECT_TRUE((*tokenizer)->DecodeBytes({&id, 1}, false) == tokens[id]) << id;
  const std::string text = std::string((1 << 20) + 1000, 'a') + "\xff\xfe\xc0" + std::string(3, 0);
  const auto ids = (*tokenizer)->Encode(text, true);
  EXPECT_TRUE((*tokenizer)->DecodeBytes(ids, false) == text);
}

TEST(TokenizerFiles, BadConfigs) {
  ExpectConfigError("", "is not a JSON object");
  ExpectConfigError("[]", "is not a JSON object");
  ExpectConfigError(TokenizerConfig(KimiNames(kBase)) + std::string("\0x", 2),
                    "is not a JSON object");
  ExpectConfigError("{\"a\": ", "is not a JSON object");
  ExpectConfigError("{}", "expected an object added_tokens_decoder, found none");
  ExpectConfigError("{\"added_tokens_decoder\": []}", "added_tokens_decoder, found array");
  const auto with = [](const std::string& id, const std::string& entry) {
    return "{\"added_tokens_decoder\": {\"" + id + "\": " + entry + "}}";
  };
  const std::string id = std::to_string(kBase);
  ExpectConfigError(with("5", "{\"content\": \"x\"}"), "found \"5\"");
  ExpectConfigError(with("x", "{\"content\": \"x\"}"), "found \"x\"");
  ExpectConfigError(with(std::to_string(kBase + 256), "{\"content\": \"x\"}"), "expected ids");
  ExpectConfigError(with(id, "7"), "[\"" + id + "\"]: expected an object");
  ExpectConfigError(with(id, "{}"), ".content: expected a string");
  ExpectConfigError(with(id, "{\"content\": \"\"}"), ".content: must not be empty");
  ExpectConfigError(with(id, "{\"content\": \"x\", \"special\": 1}"), ".special: expected true");
  ExpectConfigError(with(id, "{\"content\": \"x\", \"lstrip\": true}"), ".lstrip: only false");
  ExpectConfigError(TokenizerConfig({{kBase, {"[A]", true}}, {kBase + 9, {"[A]", true}}}),
                    "have the same text \"[A]\"");
  const std::string reserved = "<|reserved_token_" + std::to_string(kBase + 3) + "|>";
  ExpectConfigError(TokenizerConfig({{kBase, {reserved, true}}}), "have the same text");
}

}  // namespace
}  // namespace tandem
