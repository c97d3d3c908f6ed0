// Stand-in for Abseil's StrCat and StrAppend.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>

namespace absl {

enum PadSpec { kNoPad = 1, kZeroPad3 = 3 };

// A number filled up with zeros.
struct Dec {
  int64_t value;
  PadSpec pad = kNoPad;
};
inline std::ostream& operator<<(std::ostream& out, const Dec& dec) {
  const std::string digits = std::to_string(dec.value);
  for (size_t i = digits.size(); i < static_cast<size_t>(dec.pad); ++i) out << '0';
  return out << digits;
}

template <class... Pieces>
std::string StrCat(const Pieces&... pieces) {
  std::ostringstream out;
  (out << ... << pieces);
  return out.str();
}

template <class... Pieces>
void StrAppend(std::string* to, const Pieces&... pieces) {
  *to += StrCat(pieces...);
}

}  // namespace absl
