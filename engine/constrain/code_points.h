// Sets of Unicode code points: sorted ranges that do not touch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

class CodePoints {
 public:
  struct Range {
    char32_t first, last;
    bool operator==(const Range&) const = default;
  };

  CodePoints() = default;
  CodePoints(std::initializer_list<Range> ranges) {
    for (const Range& range : ranges) Add(range);
  }
  void Add(Range range);
  void Add(const CodePoints& other) {
    for (const Range& range : other.ranges_) Add(range);
  }

  CodePoints Inverse() const;
  CodePoints Intersected(const CodePoints& other) const;
  bool Contains(char32_t c) const;
  bool empty() const { return ranges_.empty(); }
  int64_t size() const;
  const std::vector<Range>& ranges() const { return ranges_; }

  // What a JSON string can hold in short: no controls but those with an escape of two letters.
  static const CodePoints& OfJson();
  // As alternatives of a grammar, the escapes of JSON applied; empty: the set holds nothing that a
  // JSON string can.
  std::vector<std::string> JsonAlternatives() const;

 private:
  std::vector<Range> ranges_;
};

}  // namespace tandem
