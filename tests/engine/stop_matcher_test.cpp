#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/text/text_stream.h"

namespace tandem {
namespace {

// Specification: the shortest beginning of `text` that ends with a stop string, without it.
struct Expected {
  std::string text, stop;
};
Expected Specification(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& stop : stops)
      if (std::string_view(text).substr(0, end).ends_with(stop) && stop.size() > longest.size())
        longest = stop;
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest};
  }
  return {text, ""};
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStopString) {
  StopMatcher matcher({"STOP"});
  EXPECT_EQ(matcher.Push("one S"), "one ");
  EXPECT_EQ(matcher.Push("T"), "");
  EXPECT_EQ(matcher.Push("EP ST"), "STEP ");
  EXPECT_EQ(matcher.Push("OP and more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.matched(), "STOP");
}

TEST(StopMatcher, GivesBackWhatItHeldAtTheEnd) {
  StopMatcher matcher({"\n\n"});
  EXPECT_EQ(matcher.Push("line\n"), "line");
  EXPECT_EQ(matcher.Finish(), "\n");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, AnyCutGivesWhatTheSpecificationSays) {
  std::mt19937 random(11);
  const auto random_text = [&](int most, int letters) {
    std::string text(1 + random() % most, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % letters);
    return text;
  };
  int stopped = 0, went_on = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) stops.push_back(random_text(6, 3));
    const std::string text = random_text(40, 3);
    const Expected expected = Specification(stops, text);
    StopMatcher matcher(stops);
    std::string out;
    for (size_t at = 0; at < text.size() && !matcher.stopped();) {
      const size_t n = std::min<size_t>(1 + random() % 5, text.size() - at);
      out += matcher.Push(std::string_view(text).substr(at, n));
      at += n;
    }
    if (!matcher.stopped()) out += matcher.Finish();
    ASSERT_EQ(out, expected.text) << "round " << round << ", text " << text;
    ASSERT_EQ(matcher.matched(), expected.stop);
    ++(expected.stop.empty() ? went_on : stopped);
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_GT(went_on, 1000);
}

TEST(StopMatcher, NamesWhatItRefuses) {
  EXPECT_TRUE(StopMatcher::Validate({"a", "b"}).ok());
  EXPECT_EQ(StopMatcher::Validate({"a", ""}).message(), "stop string 1 is empty");
  EXPECT_FALSE(StopMatcher::Validate({std::string(5000, 'x')}).ok());
  EXPECT_FALSE(StopMatcher::Validate(std::vector<std::string>(65, "x")).ok());
}

// One token per byte, so that every character is cut.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool) const override {
    return {text.begin(), text.end()};
  }
  std::string DecodeBytes(std::span<const int32_t> ids, bool) const override {
    return {ids.begin(), ids.end()};
  }
  int32_t vocab_size() const override { return 256; }
  std::optional<int32_t> SpecialId(std::string_view) const override { return std::nullopt; }
  bool IsSpecial(int32_t) const override { return false; }
  bool IsSkipped(int32_t) const override { return false; }
};

TEST(TextStream, GivesWholeCharactersAndStopsInsideMultiByteText) {
  const ByteTokenizer tokenizer;
  TextStream stream(tokenizer, {"é!"}, true);
  std::string shown;
  for (const char c : std::string("日本é語é!x")) {
    const std::string piece = stream.Push(static_cast<uint8_t>(c));
    EXPECT_TRUE(piece.empty() || piece.size() % 3 == 0 || piece == "é語" || piece == "é") << piece;
    shown += piece;
    if (stream.stopped()) break;
  }
  EXPECT_EQ(shown, "日本é語");
  EXPECT_EQ(stream.stop_string(), "é!");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TextStream, AnUnfinishedCharacterAtTheEndIsReplaced) {
  const ByteTokenizer tokenizer;
  TextStream stream(tokenizer, {}, true);
  EXPECT_EQ(stream.Push('a'), "a");
  EXPECT_EQ(stream.Push(0xe6), "");
  EXPECT_EQ(stream.Finish(), "\xef\xbf\xbd");
}

// Every byte is a token, so markers are bytes: R ends the reasoning, C begins the calls.
TEST(TextStream, StopsCountInTheirScopeOnly) {
  const ByteTokenizer tokenizer;
  struct {
    const char *answer, *shown, *stop;
  } cases[] = {
      {"abRcdabCx", "abRcd", "ab"},    // not in the reasoning
      {"abRcCabab", "abRcCabab", ""},  // not in the calls
      {"aRbCa", "aRbCa", ""},          // not over a marker
      {"RaCb", "RaCb", ""},            // what was held back comes
      {"abCxab", "abCxab", ""},        // reasoning that runs into a call
      {"RaRb", "RaRb", ""},           {"RRab", "RR", "ab"},
  };
  for (const auto& c : cases) {
    TextStream stream(tokenizer, {"ab"}, true, {.from = {'R'}, .until = {'C'}});
    std::string shown;
    for (const char* at = c.answer; *at != 0 && !stream.stopped(); ++at) shown += stream.Push(*at);
    EXPECT_EQ(shown + stream.Finish(), c.shown) << c.answer;
    EXPECT_EQ(stream.stop_string(), c.stop) << c.answer;
  }
}

}  // namespace
}  // namespace tandem
