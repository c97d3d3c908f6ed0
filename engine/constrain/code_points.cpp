#include "engine/constrain/code_points.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

constexpr char32_t kLast = 0x10ffff;

std::string Escaped(char32_t c) {
  return c > 0xffff ? absl::StrFormat("\\U%08x", static_cast<uint32_t>(c))
                    : absl::StrFormat("\\u%04x", static_cast<uint32_t>(c));
}

}  // namespace

void CodePoints::Add(Range range) {
  std::vector<Range> merged;
  for (const Range& other : ranges_) {
    if (other.last + 1 < range.first || range.last + 1 < other.first) {
      merged.push_back(other);
    } else {
      range = {std::min(range.first, other.first), std::max(range.last, other.last)};
    }
  }
  merged.push_back(range);
  std::ranges::sort(merged, {}, &Range::first);
  ranges_ = std::move(merged);
}

CodePoints CodePoints::Inverse() const {
  CodePoints inverse;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) inverse.ranges_.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLast) inverse.ranges_.push_back({next, kLast});
  return inverse;
}

CodePoints CodePoints::Intersected(const CodePoints& other) const {
  CodePoints both;
  for (const Range& a : ranges_)
    for (const Range& b : other.ranges_)
      if (std::max(a.first, b.first) <= std::min(a.last, b.last))
        both.ranges_.push_back({std::max(a.first, b.first), std::min(a.last, b.last)});
  return both;
}

bool CodePoints::Contains(char32_t c) const {
  return std::ranges::any_of(ranges_, [&](const Range& r) { return r.first <= c && c <= r.last; });
}

int64_t CodePoints::size() const {
  int64_t n = 0;
  for (const Range& range : ranges_) n += range.last - range.first + 1;
  return n;
}

const CodePoints& CodePoints::OfJson() {
  static const CodePoints set{{'\b', '\n'}, {'\f', '\r'}, {' ', 0xd7ff}, {0xe000, kLast}};
  return set;
}

std::vector<std::string> CodePoints::JsonAlternatives() const {
  static const CodePoints plain{{' ', '!'}, {'#', '['}, {']', 0xd7ff}, {0xe000, kLast}};
  std::vector<std::string> alternatives;
  std::string klass;
  for (const Range& range : Intersected(plain).ranges_) {
    absl::StrAppend(&klass, Escaped(range.first));
    if (range.last > range.first) absl::StrAppend(&klass, "-", Escaped(range.last));
  }
  if (!klass.empty()) alternatives.push_back(absl::StrCat("[", klass, "]"));
  constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t", kLetter = "\"\\bfnrt";
  std::string letters;
  for (size_t i = 0; i < kSpecial.size(); ++i)
    if (Contains(kSpecial[i])) absl::StrAppend(&letters, Escaped(kLetter[i]));
  if (!letters.empty()) alternatives.push_back(absl::StrCat("\"\\\\\" [", letters, "]"));
  return alternatives;
}

}  // namespace tandem
