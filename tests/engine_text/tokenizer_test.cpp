#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/engine_text/tiny_tokenizer.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

class TokenizerTest : public ::testing::Test {
 protected:
  std::string Decode(const std::vector<int32_t>& ids, bool skip_special = false) const {
    return tokenizer_->DecodeBytes(ids, skip_special);
  }
  int32_t Id(const std::string& special) const { return tokenizer_->SpecialId(special).value(); }

  const std::unique_ptr<Tokenizer> tokenizer_ = testing::MakeTinyTokenizer();
  const int32_t n_base_ = static_cast<int32_t>(testing::TinyTokens().size());
};

TEST_F(TokenizerTest, MergesByRank) {
  // Bytes are ranked downwards from 255, so byte b is token 255-b; "hello" is 256+3, " world"
  // 256+7.
  EXPECT_THAT(tokenizer_->Encode("hello world!", false), ElementsAre(259, 263, 255 - '!'));
  EXPECT_THAT(tokenizer_->Encode("你好", false), ElementsAre(256 + 23, 256 + 25));
  EXPECT_THAT(tokenizer_->Encode("", false), ElementsAre());
  EXPECT_EQ(tokenizer_->vocab_size(), n_base_ + 256);
}

TEST_F(TokenizerTest, KnowsItsControlSlots) {
  EXPECT_EQ(Id("<|im_end|>"), n_base_ + 2);
  EXPECT_EQ(tokenizer_->SpecialId("im_end"), std::nullopt);
  const std::string unnamed = "<|reserved_token_" + std::to_string(n_base_ + 200) + "|>";
  EXPECT_EQ(Id(unnamed), n_base_ + 200);
  EXPECT_TRUE(tokenizer_->IsSpecial(n_base_));
  EXPECT_TRUE(tokenizer_->IsSpecial(n_base_ + 255));
  EXPECT_FALSE(tokenizer_->IsSpecial(n_base_ - 1));
  EXPECT_FALSE(tokenizer_->IsSpecial(n_base_ + 256));
  EXPECT_FALSE(tokenizer_->IsSpecial(-1));
  EXPECT_TRUE(tokenizer_->IsSkipped(Id("<|im_end|>")));
  EXPECT_FALSE(tokenizer_->IsSkipped(Id("<think>")));
  EXPECT_FALSE(tokenizer_->IsSkipped(Id(unnamed)));
}

TEST_F(TokenizerTest, ControlTextIsParsedOnlyOnRequest) {
  const std::string text = "hello<|im_end|> <think>x</think>[PAD";
  EXPECT_THAT(tokenizer_->Encode(text, true),
              ElementsAre(259, Id("<|im_end|>"), 255 - ' ', Id("<think>"), 255 - 'x',
                          Id("</think>"), 255 - '[', 255 - 'P', 255 - 'A', 255 - 'D'));
  const std::vector<int32_t> plain = tokenizer_->Encode(text, false);
  for (const int32_t id : plain) EXPECT_FALSE(tokenizer_->IsSpecial(id));
  EXPECT_EQ(Decode(plain), text);
  EXPECT_EQ(Decode(tokenizer_->Encode(text, true)), text);
}

TEST_F(TokenizerTest, DecodingSkipsFlaggedTokensAndUnknownIds) {
  const std::vector<int32_t> ids = {
      Id("<|im_end|>"), 259, Id("<think>"), -1, n_base_ + 256, std::numeric_limits<int32_t>::max()};
  EXPECT_EQ(Decode(ids, /*skip_special=*/true), "hello<think>");
  EXPECT_EQ(Decode(ids), "<|im_end|>hello<think>");
}

TEST_F(TokenizerTest, RandomBytesComeBack) {
  std::mt19937 random(1);
  for (int round = 0; round < 3'000; ++round) {
    std::string bytes;
    for (int n = static_cast<int>(random() % 200); n > 0; --n) {
      // Half of the time a byte that occurs in text, so that merges and runs happen.
      bytes +=
          static_cast<char>(random() % 2 ? random() % 256 : "a hel\n\xE4\xBD\xA0<|"[random() % 10]);
    }
    ASSERT_EQ(Decode(tokenizer_->Encode(bytes, false)), bytes) << "round " << round;
    ASSERT_EQ(Decode(tokenizer_->Encode(bytes, true)), bytes) << "round " << round;
  }
}

TEST_F(TokenizerTest, MutatedTextNeverBreaksIt) {
  std::mt19937 random(2);
  std::string text =
      "<|im_user|>user<|im_middle|>hello 你好 123's\n\n<|im_end|>[EOS]<think></think>";
  for (int round = 0; round < 5'000; ++round) {
    const size_t at = random() % (text.size() + 1);
    switch (random() % 3) {
      case 0:
        text.insert(at, 1, static_cast<char>(random()));
        break;
      case 1:
        text.erase(at, 1 + random() % 3);
        break;
      case 2:
        text.insert(at, text.substr(random() % (text.size() + 1), random() % 12));
        break;
    }
    if (text.size() > 400) text.resize(200);
    ASSERT_EQ(Decode(tokenizer_->Encode(text, true)), text) << "round " << round;
    for (const int32_t id : tokenizer_->Encode(text, false))
      ASSERT_FALSE(tokenizer_->IsSpecial(id)) << "round " << round;
  }
}

TEST_F(TokenizerTest, AMillionEqualCharactersArePossible) {
  for (const char* unit : {"a", " ", "\n", "你", "!", "\xFF"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    EXPECT_EQ(Decode(tokenizer_->Encode(text, false)), text);
  }
}

TEST_F(TokenizerTest, ThreadsShareIt) {
  const std::string text = "hello world 你好 aaaaaaaaaa 12345 <|im_end|>";
  const std::vector<int32_t> expected = tokenizer_->Encode(text, true);
  std::vector<std::thread> threads;
  std::vector<int> n_wrong(4, 0);
  for (int& wrong : n_wrong) {
    threads.emplace_back([&, this] {
      for (int i = 0; i < 500; ++i) wrong += tokenizer_->Encode(text, true) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(n_wrong, ElementsAre(0, 0, 0, 0));
}

}  // namespace
}  // namespace tandem
