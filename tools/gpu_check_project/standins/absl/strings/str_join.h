// Stand-in for Abseil's StrJoin.
#pragma once

#include "absl/strings/str_cat.h"

namespace absl {

template <class Range>
std::string StrJoin(const Range& range, const std::string& separator) {
  std::string joined;
  for (const auto& piece : range) StrAppend(&joined, joined.empty() ? "" : separator, piece);
  return joined;
}

}  // namespace absl
