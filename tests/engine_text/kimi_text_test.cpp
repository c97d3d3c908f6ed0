// Known answers of the published model: every text and every conversation, exactly. They lie
// outside the project; TANDEM_KIMI_DATA names their folder.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>

#include "engine/text/chat_format.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

class KimiTextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TANDEM_KIMI_DATA");
    if (folder == nullptr) GTEST_SKIP() << "TANDEM_KIMI_DATA does not name the model's data folder";
    folder_ = folder;
    auto tokenizer = Tokenizer::Load(folder_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = std::move(tokenizer).value();
  }

  std::vector<Json> Cases(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name);
    std::vector<Json> cases;
    for (std::string line; std::getline(file, line);) cases.push_back(Json::parse(line));
    return cases;
  }

  std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(KimiTextTest, EveryTextGivesThePublishedIds) {
  const std::vector<Json> cases = Cases("tokenizer_cases.jsonl");
  ASSERT_EQ(cases.size(), 600u);
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string text = cases[i]["text"];
    const std::vector<int32_t> ids = tokenizer_->Encode(text, /*parse_special=*/false);
    ASSERT_EQ(ids, cases[i]["ids"].get<std::vector<int32_t>>()) << "case " << i;
    ASSERT_EQ(tokenizer_->DecodeBytes(ids, /*skip_special=*/false), text) << "case " << i;
  }
}

TEST_F(KimiTextTest, EveryConversationGivesThePublishedTextAndIds) {
  const std::vector<Json> cases = Cases("chat_cases.jsonl");
  ASSERT_EQ(cases.size(), 400u);
  for (size_t i = 0; i < cases.size(); ++i) {
    const Json& chat = cases[i];
    ChatOptions options;
    options.thinking = chat.value("thinking", true);
    options.preserve_thinking = chat.value("preserve_thinking", false);
    options.add_generation_prompt = chat.value("add_generation_prompt", true);
    const Json tools = chat.contains("tools") ? chat["tools"] : Json();
    for (const bool trust : {true, false}) {  // no case has control text in its contents
      const auto rendered = RenderChat(*tokenizer_, chat["messages"], tools, options, trust);
      ASSERT_TRUE(rendered.ok()) << "case " << i << ": " << rendered.status();
      ASSERT_EQ(rendered->text, chat["text"].get<std::string>()) << "case " << i;
      ASSERT_EQ(rendered->ids, chat["ids"].get<std::vector<int32_t>>()) << "case " << i;
    }
  }
}

TEST_F(KimiTextTest, TheVocabularyIsThePublishedOne) {
  EXPECT_EQ(tokenizer_->vocab_size(), 163'840);
  EXPECT_EQ(tokenizer_->SpecialId("<|im_end|>"), 163'586);
  EXPECT_EQ(tokenizer_->SpecialId("<|reserved_token_163589|>"), 163'589);
  EXPECT_TRUE(tokenizer_->IsSkipped(163'602));
  EXPECT_FALSE(tokenizer_->IsSkipped(163'595));
}

}  // namespace
}  // namespace tandem
