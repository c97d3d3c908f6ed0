// Bounds of numbers: the grammars as regular expressions against arithmetic.
#include "engine/constrain/number_grammar.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>

namespace tandem {
namespace {

// The expressions use nothing that ECMAScript does not write alike, blanks and quotes aside.
std::regex AsRegex(std::string grammar) {
  std::string text;
  bool quoted = false;
  for (const char c : grammar) {
    if (c == '"') {
      quoted = !quoted;
    } else if (quoted && c == '.') {
      text += "\\.";
    } else if (quoted || c != ' ') {
      text += c;
    }
  }
  return std::regex(text);
}

TEST(NumberGrammarTest, IntegersExhaustively) {
  for (const auto& [low, high] : std::vector<std::pair<int, int>>{{0, 0},
                                                                  {0, 9},
                                                                  {7, 7},
                                                                  {7, 1203},
                                                                  {-5, 120},
                                                                  {-99, -10},
                                                                  {-1000, 3},
                                                                  {99, 101},
                                                                  {1, 1},
                                                                  {-1, -1},
                                                                  {10, 999}}) {
    const std::regex regex = AsRegex(IntegerGrammar({low, high}));
    for (int x = -1500; x <= 1500; ++x)
      EXPECT_EQ(std::regex_match(std::to_string(x), regex), x >= low && x <= high)
          << x << " in " << low << ".." << high;
    for (const char* odd : {"", "-", "-0", "00", "01", "1.0", "+1", "-01"})
      EXPECT_FALSE(std::regex_match(odd, regex)) << odd;
  }
}

TEST(NumberGrammarTest, OpenBounds) {
  EXPECT_TRUE(IntegerGrammar({.low = 3, .high = 4, .low_open = true, .high_open = true}).empty());
  const std::regex regex =
      AsRegex(IntegerGrammar({.low = 3, .high = 5, .low_open = true, .high_open = true}));
  EXPECT_TRUE(std::regex_match("4", regex));
  EXPECT_FALSE(std::regex_match("3", regex));
  EXPECT_FALSE(std::regex_match("5", regex));
  EXPECT_TRUE(IntegerGrammar({.low = 1e300}).empty());
  EXPECT_FALSE(IntegerGrammar({.high = 1e300}).empty());
}

TEST(NumberGrammarTest, DecimalsWithUpToThreePlaces) {
  std::mt19937 random(3);
  for (int round = 0; round < 12; ++round) {
    const double a = (static_cast<int>(random() % 8001) - 4000) / 1000.0;
    const double b = (static_cast<int>(random() % 8001) - 4000) / 1000.0;
    NumberBounds bounds{std::min(a, b), std::max(a, b), random() % 2 == 0, random() % 2 == 0};
    const std::string grammar = NumberGrammar(bounds);
    if (grammar.empty()) continue;
    const std::regex regex = AsRegex(grammar);
    for (int k = -4100; k <= 4100; ++k) {
      const double x = k / 1000.0;
      char text[32];
      std::snprintf(text, sizeof text, "%.3f", x);
      const bool inside = (bounds.low_open ? x > *bounds.low : x >= *bounds.low) &&
                          (bounds.high_open ? x < *bounds.high : x <= *bounds.high);
      if (k != 0 || text[0] != '-') {
        EXPECT_EQ(std::regex_match(text, regex), inside) << text;
      }
      // More places: nothing outside comes through.
      std::snprintf(text, sizeof text, "%.3f%03d", x, static_cast<int>(random() % 1000));
      const double y = std::stod(text);
      const bool y_inside = (bounds.low_open ? y > *bounds.low : y >= *bounds.low) &&
                            (bounds.high_open ? y < *bounds.high : y <= *bounds.high);
      if (std::regex_match(text, regex)) {
        EXPECT_TRUE(y_inside) << text << " " << grammar;
      }
    }
  }
}

}  // namespace
}  // namespace tandem
