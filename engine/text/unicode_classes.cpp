#include "engine/text/unicode_classes.h"

#include <algorithm>
#include <vector>

namespace tandem {
namespace {

struct RangeStart {
  uint32_t code_point;
  uint8_t char_class;
};

constexpr RangeStart kRanges[] = {
#include "engine/text/unicode_ranges.inc"
};

std::vector<uint8_t> BuildClasses() {
  std::vector<uint8_t> classes(0x110000, 0);
  const size_t n = std::size(kRanges);
  for (size_t i = 0; i < n; ++i) {
    const size_t end = i + 1 < n ? kRanges[i + 1].code_point : classes.size();
    std::fill(classes.begin() + kRanges[i].code_point, classes.begin() + end,
              kRanges[i].char_class);
  }
  return classes;
}

}  // namespace

const uint8_t* CharClasses() {
  static const std::vector<uint8_t> classes = BuildClasses();
  return classes.data();
}

}  // namespace tandem
