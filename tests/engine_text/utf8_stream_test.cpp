#include <gtest/gtest.h>

#include <random>

#include "engine/text/tokenizer.h"

namespace tandem {
namespace {

#define FFFD "\xEF\xBF\xBD"

std::string AtOnce(const std::string& bytes) {
  Utf8Stream stream;
  std::string out = stream.Push(bytes);
  return out + stream.Finish();
}

struct Case {
  std::string bytes, expected;
};

// Expected: what Python's bytes.decode("utf-8", "replace") gives.
const Case kCases[] = {
    {"", ""},
    {"plain", "plain"},
    {"h\xC3\xA9 \xE4\xBD\xA0 \xF0\x9F\x99\x82", "h\xC3\xA9 \xE4\xBD\xA0 \xF0\x9F\x99\x82"},
    {"\x80", FFFD},
    {"a\xFFz", "a" FFFD "z"},
    {"\xC0\xAF", FFFD FFFD},                    // overlong
    {"\xE0\x80\xAF", FFFD FFFD FFFD},           // overlong
    {"\xED\xA0\x80", FFFD FFFD FFFD},           // surrogate
    {"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD},  // above U+10FFFF
    {"\xF5\x80\x80\x80", FFFD FFFD FFFD FFFD},
    {"\xE4\xBDz", FFFD "z"},  // truncated, then a letter
    {"\xF0\x9F\x99z", FFFD "z"},
    {"\xF0\x9F\xE4\xBD\xA0", FFFD "\xE4\xBD\xA0"},
    {"\xE4\xBD", FFFD},  // ends inside
    {"\xF0\x9F\x99", FFFD},
    {"\xF0", FFFD},
    {"\xC3\xC3\xA9", FFFD "\xC3\xA9"},
    {std::string("a\0b", 3), std::string("a\0b", 3)},
};

TEST(Utf8Stream, ReplacesAsPythonDoes) {
  for (const Case& c : kCases)
    EXPECT_EQ(AtOnce(c.bytes), c.expected) << ::testing::PrintToString(c.bytes);
}

TEST(Utf8Stream, EveryCutGivesTheSameText) {
  for (const Case& c : kCases) {
    for (size_t first = 0; first <= c.bytes.size(); ++first) {
      for (size_t second = first; second <= c.bytes.size(); ++second) {
        Utf8Stream stream;
        std::string out = stream.Push(c.bytes.substr(0, first));
        out += stream.Push(c.bytes.substr(first, second - first));
        out += stream.Push(c.bytes.substr(second));
        out += stream.Finish();
        ASSERT_EQ(out, c.expected)
            << ::testing::PrintToString(c.bytes) << " cut at " << first << " and " << second;
      }
    }
  }
}

TEST(Utf8Stream, RandomBytesOneByOneAndAtOnce) {
  std::mt19937 random(5);
  const uint8_t pool[] = {0x41, 0x80, 0xBF, 0xC2, 0xE0, 0xA0, 0xED,
                          0x9F, 0xF0, 0x90, 0xF4, 0x8F, 0xFF};
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes;
    for (int n = static_cast<int>(random() % 10); n > 0; --n)
      bytes += static_cast<char>(pool[random() % std::size(pool)]);
    Utf8Stream stream;
    std::string out;
    for (const char byte : bytes) out += stream.Push(std::string_view(&byte, 1));
    out += stream.Finish();
    ASSERT_EQ(out, AtOnce(bytes)) << ::testing::PrintToString(bytes);
  }
}

TEST(Utf8Stream, HoldsBackOnlyWhatMayBecomeACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xE4\xBD"), "a");
  EXPECT_EQ(stream.Push("\xA0"
                        "b"),
            "\xE4\xBD\xA0"
            "b");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.Push("\xF0\x9F"), "");
  EXPECT_EQ(stream.Finish(), FFFD);
  EXPECT_EQ(stream.Push("again"), "again");
}

}  // namespace
}  // namespace tandem
