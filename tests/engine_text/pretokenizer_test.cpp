// The hand-written splitter against the published pattern in PCRE2, and the two length limits.
#include "engine/text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcre2.h>

#include <random>
#include <string>
#include <vector>

#include "engine/text/unicode_classes.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const size_t n = PieceBytes(text);
    EXPECT_GT(n, 0u);
    EXPECT_LE(n, text.size());
    if (n == 0 || n > text.size()) break;
    pieces.emplace_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

std::string Utf8(uint32_t c) {
  std::string s;
  if (c < 0x80) {
    s += static_cast<char>(c);
  } else if (c < 0x800) {
    s += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  } else if (c < 0x10000) {
    s += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
          static_cast<char>(0x80 | (c & 63))};
  } else {
    s += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
          static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
  }
  return s;
}

class Pcre2Pattern {
 public:
  explicit Pcre2Pattern(const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
    EXPECT_NE(code_, nullptr) << "PCRE2 error " << error << " at " << offset;
    match_ = pcre2_match_data_create_from_pattern(code_, nullptr);
  }
  ~Pcre2Pattern() {
    pcre2_match_data_free(match_);
    pcre2_code_free(code_);
  }
  // Bytes of the match at `at`, 0 if there is none.
  size_t MatchAt(const std::string& text, size_t at) const {
    const int rc = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                               PCRE2_ANCHORED, match_, nullptr);
    if (rc < 0) return 0;
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_);
    return range[1] - range[0];
  }

 private:
  pcre2_code* code_ = nullptr;
  pcre2_match_data* match_ = nullptr;
};

std::string PublishedPattern() {
  const std::string space =
      "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
      "\\x{205f}\\x{3000}";
  const std::string a = "(?:(?!\\p{sc:Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])";
  const std::string b = "(?:(?!\\p{sc:Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])";
  const std::string suffix = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
  return "\\p{sc:Han}+|[^\\r\\n\\p{L}\\p{N}]?" + a + "*" + b + "+" + suffix +
         "|[^\\r\\n\\p{L}\\p{N}]?" + a + "+" + b + "*" + suffix + "|\\p{N}{1,3}| ?[^" + space +
         "\\p{L}\\p{N}]+[\\r\\n]*|[" + space + "]*[\\r\\n]+|[" + space + "]+(?![^" + space +
         "])|[" + space + "]+";
}

TEST(Pretokenizer, SplitsAsThePatternSays) {
  EXPECT_THAT(Split("DON'T it'S 's"), ElementsAre("DON'T", " it'S", " '", "s"));
  EXPECT_THAT(Split("1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(Split("x=1;//c\n\n\n\ty"), ElementsAre("x", "=", "1", ";//", "c", "\n\n\n", "\ty"));
  EXPECT_THAT(Split("a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(Split("a  \n  b"), ElementsAre("a", "  \n", " ", " b"));
  EXPECT_THAT(Split("!!!\n\n???"), ElementsAre("!!!\n\n", "???"));
  EXPECT_THAT(Split("CamelCaseHTTPServer"), ElementsAre("Camel", "Case", "HTTPServer"));
  EXPECT_THAT(Split("AB中文cd"), ElementsAre("AB", "中文", "cd"));
  EXPECT_THAT(Split("々〇ー"), ElementsAre("々〇", "ー"));
  EXPECT_THAT(Split("it'\u017F x"), ElementsAre("it'\u017F", " x"));
  // The last character that is in both classes ends the word: U+02B0 is Lm.
  EXPECT_THAT(Split("DON\u02B0TX"), ElementsAre("DON\u02B0", "TX"));
  EXPECT_THAT(Split("1\u3007a"), ElementsAre("1\u3007", "a"));
}

TEST(Pretokenizer, InvalidBytesAreSymbols) {
  EXPECT_THAT(Split("a\xFF\x80 b"), ElementsAre("a", "\xFF\x80", " b"));
  EXPECT_THAT(Split("\xE4\xBD"), ElementsAre("\xE4\xBD"));
}

TEST(Pretokenizer, EqualsPcre2OnEveryCharacter) {
  const Pcre2Pattern pattern(PublishedPattern());
  // Characters that PCRE2's older Unicode does not know yet are left out.
  const Pcre2Pattern known("\\P{Cn}");
  int n_checked = 0;
  for (uint32_t c = 1; c < 0x110000; ++c) {
    if ((c >= 0xD800 && c < 0xE000) || known.MatchAt(Utf8(c), 0) == 0) continue;
    for (const std::string& text : {"a" + Utf8(c) + "b", "A" + Utf8(c) + "B", "!" + Utf8(c),
                                    " " + Utf8(c) + "x", "1" + Utf8(c) + "\n"}) {
      size_t at = 0;
      for (const std::string& piece : Split(text)) {
        ASSERT_EQ(piece.size(), pattern.MatchAt(text, at)) << std::hex << "U+" << c;
        at += piece.size();
      }
    }
    ++n_checked;
  }
  EXPECT_GT(n_checked, 140'000);
}

TEST(Pretokenizer, EqualsPcre2OnRandomText) {
  const Pcre2Pattern pattern(PublishedPattern());
  const char* pools[] = {
      "a",      "b",      "Z",      "Q",      "1",      "\u0663", " ",      " ",  "\n", "\r",
      "\t",     "'",      "s",      "S",      "t",      "re",     "LL",     "'d", "中", "文",
      "\u3007", "\u02B0", "\u00AA", "\u0301", "\u20DD", "\u01C5", "\u00E9", "!",  "_",  "\u0085",
      "\u00A0", "\u3000", "\u180E", "\u200B", "\u017F", "🙂",   "日",     "カ", "ー", "\u2E80"};
  std::mt19937 random(3);
  for (int round = 0; round < 60'000; ++round) {
    std::string text;
    for (int n = 1 + static_cast<int>(random() % 14); n > 0; --n) {
      const char* item = pools[random() % std::size(pools)];
      for (int repeat = random() % 4 == 0 ? 4 : 1; repeat > 0; --repeat) text += item;
    }
    size_t at = 0;
    for (const std::string& piece : Split(text)) {
      ASSERT_EQ(piece.size(), pattern.MatchAt(text, at)) << "at " << at << " of \"" << text << '"';
      at += piece.size();
    }
  }
}

std::vector<size_t> PartSizes(const std::string& text) {
  TextCutter cutter(text);
  std::vector<size_t> sizes;
  for (std::string_view part = cutter.Next(); !part.empty(); part = cutter.Next())
    sizes.push_back(part.size());
  return sizes;
}

TEST(TextCutter, CutsRunsOf25000Characters) {
  EXPECT_THAT(PartSizes(""), ElementsAre());
  EXPECT_THAT(PartSizes(std::string(25'000, 'x')), ElementsAre(25'000));
  EXPECT_THAT(PartSizes(std::string(25'001, 'x')), ElementsAre(25'000, 1));
  EXPECT_THAT(PartSizes(std::string(60'000, ' ')), ElementsAre(25'000, 25'000, 10'000));
  EXPECT_THAT(PartSizes("a" + std::string(25'001, ' ') + "b"), ElementsAre(25'001, 2));
  // U+001C is white space for Python only; a character of three bytes counts once.
  EXPECT_THAT(PartSizes(std::string(20'000, ' ') + std::string(20'000, '\x1C')),
              ElementsAre(25'000, 15'000));
  std::string chinese;
  for (int i = 0; i < 25'001; ++i) chinese += "中";
  EXPECT_THAT(PartSizes(chinese), ElementsAre(75'000, 3));
}

TEST(TextCutter, CutsSlicesOf400000Characters) {
  std::string text;
  while (text.size() < 400'003) text += "ab ";
  EXPECT_THAT(PartSizes(text), ElementsAre(400'000, text.size() - 400'000));
  // A run that is cut by the slice starts again behind it.
  const std::string tail(25'000, 'x');
  std::string long_tail = text.substr(0, 399'999) + tail + tail;
  EXPECT_THAT(PartSizes(long_tail), ElementsAre(400'000, 25'000, 24'999));
}

}  // namespace
}  // namespace tandem
