#include "engine/constrain/number_grammar.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr int64_t kMost = 999'999'999'999'999;  // 15 digits
constexpr int kPlaces = 3;                      // behind the point, told apart digit by digit
constexpr int kMorePlaces = 6;  // behind those, where a double still tells them apart:
constexpr int64_t kMostWithMore = 1'000'000'000;  // in units of 10^-kPlaces

struct Range {
  int64_t low, high;  // both inside
};

std::string Digits(char from, char to) {
  if (from == to) return absl::StrCat("\"", std::string(1, from), "\"");
  return absl::StrCat("[", std::string(1, from), "-", std::string(1, to), "]");
}

std::string AnyDigits(size_t n) {
  std::string digits;
  for (size_t i = 0; i < n; ++i) absl::StrAppend(&digits, i == 0 ? "" : " ", "[0-9]");
  return digits.empty() ? "\"\"" : digits;
}

// The numbers of low.size() digits between the two, leading zeros included.
std::string SameLength(const std::string& low, const std::string& high) {
  if (low.empty()) return "\"\"";
  const std::string low_rest = low.substr(1), high_rest = high.substr(1);
  if (low[0] == high[0])
    return absl::StrCat(Digits(low[0], low[0]), " (", SameLength(low_rest, high_rest), ")");
  const std::string zeros(low_rest.size(), '0'), nines(low_rest.size(), '9');
  char from = low[0], to = high[0];
  std::vector<std::string> parts;
  if (low_rest != zeros) {
    parts.push_back(absl::StrCat(Digits(from, from), " (", SameLength(low_rest, nines), ")"));
    ++from;
  }
  std::string last;
  if (high_rest != nines) {
    last = absl::StrCat(Digits(to, to), " (", SameLength(zeros, high_rest), ")");
    --to;
  }
  if (from <= to) parts.push_back(absl::StrCat(Digits(from, to), " ", AnyDigits(low_rest.size())));
  if (!last.empty()) parts.push_back(last);
  return absl::StrCat("(", absl::StrJoin(parts, " | "), ")");
}

std::string Padded(int64_t value, size_t digits) {
  std::string text = absl::StrCat(value);
  return text.size() < digits ? std::string(digits - text.size(), '0') + text : text;
}

// 0 <= low <= high, counted in units of 10^-places: each written with exactly that many places.
std::vector<std::string> Fixed(const Range& range, int places) {
  int64_t unit = 1;
  for (int i = 0; i < places; ++i) unit *= 10;
  std::vector<std::string> parts;
  // Cut where the part before the point gets another digit.
  for (int64_t low = range.low, power = 10; low <= range.high; power *= 10) {
    const int64_t limit = power * unit;
    if (low >= limit) continue;
    const int64_t high = std::min(range.high, limit - 1);
    const size_t whole = absl::StrCat(low / unit).size();
    const std::string a = Padded(low, whole + places), b = Padded(high, whole + places);
    if (places == 0) {
      parts.push_back(SameLength(a, b));
    } else {
      const std::string a_whole = a.substr(0, whole), b_whole = b.substr(0, whole);
      const std::string a_part = a.substr(whole), b_part = b.substr(whole);
      const std::string zeros(places, '0'), nines(places, '9');
      const auto piece = [&](const std::string& w0, const std::string& w1, const std::string& p0,
                             const std::string& p1) {
        parts.push_back(absl::StrCat(SameLength(w0, w1), " \".\" (", SameLength(p0, p1), ")"));
      };
      if (a_whole == b_whole) {
        piece(a_whole, b_whole, a_part, b_part);
      } else {
        int64_t first = low / unit, last = high / unit;
        if (a_part != zeros) piece(a_whole, a_whole, a_part, nines), ++first;
        if (b_part != nines) piece(b_whole, b_whole, zeros, b_part), --last;
        if (first <= last) piece(Padded(first, whole), Padded(last, whole), zeros, nines);
      }
    }
    low = high + 1;
  }
  return parts;
}

// The multiples of 10^-places inside the bounds; nothing: none.
std::optional<Range> Inside(const NumberBounds& bounds, int places) {
  const double unit = std::pow(10.0, places);
  const double most = static_cast<double>(kMost);
  Range range{-kMost, kMost};
  if (bounds.low) {
    if (*bounds.low * unit > most) return std::nullopt;
    if (*bounds.low * unit >= -most) {
      // The smallest k with k / unit inside, whatever the product was rounded to.
      range.low = static_cast<int64_t>(std::floor(*bounds.low * unit)) - 1;
      while (bounds.low_open ? range.low / unit <= *bounds.low : range.low / unit < *bounds.low)
        ++range.low;
    }
  }
  if (bounds.high) {
    if (*bounds.high * unit < -most) return std::nullopt;
    if (*bounds.high * unit <= most) {
      range.high = static_cast<int64_t>(std::ceil(*bounds.high * unit)) + 1;
      while (bounds.high_open ? range.high / unit >= *bounds.high
                              : range.high / unit > *bounds.high)
        --range.high;
    }
  }
  if (range.low > range.high) return std::nullopt;
  return range;
}

void AddSigned(const Range& range, int places, const std::string& behind,
               std::vector<std::string>& parts) {
  const auto add = [&](const std::string& sign, const Range& magnitudes) {
    for (const std::string& part : Fixed(magnitudes, places))
      parts.push_back(absl::StrCat(sign, part, behind));
  };
  if (range.low > range.high) return;
  if (range.low < 0) add("\"-\" ", {std::max<int64_t>(-range.high, 1), -range.low});
  if (range.high >= 0) add("", {std::max<int64_t>(range.low, 0), range.high});
}

std::string OneOf(const std::vector<std::string>& parts) {
  return parts.empty() ? "" : absl::StrCat("(", absl::StrJoin(parts, " | "), ")");
}

}  // namespace

std::string IntegerGrammar(const NumberBounds& bounds) {
  if (!bounds.low && !bounds.high) return "json_integer";
  std::vector<std::string> parts;
  if (const auto range = Inside(bounds, 0)) AddSigned(*range, 0, "", parts);
  return OneOf(parts);
}

std::string NumberGrammar(const NumberBounds& bounds) {
  if (!bounds.low && !bounds.high) return "json_number";
  std::vector<std::string> parts;
  for (int places = 0; places <= kPlaces; ++places) {
    const auto range = Inside(bounds, places);
    if (!range) continue;
    AddSigned(*range, places, "", parts);
    if (places < kPlaces) continue;
    // More digits lead away from zero, by less than a unit.
    const std::string more = absl::StrCat(" [0-9]{1,", kMorePlaces, "}");
    if (range->high > 0 && range->low < range->high)
      AddSigned({std::max<int64_t>(range->low, 0), std::min(range->high - 1, kMostWithMore)},
                places, more, parts);
    if (range->low < 0 && range->low < range->high)
      AddSigned({std::max(range->low + 1, -kMostWithMore), std::min<int64_t>(range->high, -1)},
                places, more, parts);
  }
  return OneOf(parts);
}

}  // namespace tandem
