// Small pieces of text for a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

// `share` (0..1) of `width` columns, in eighths of a column, filled up with spaces.
std::string Bar(double share, int width);

// Exactly `width` columns: filled up, or cut with "..." at the end. One code point is taken as one
// column; bytes that are no UTF-8 as one each.
std::string Column(std::string_view text, int width);

// 1234567 -> "1,234,567"
std::string Thousands(int64_t number);

}  // namespace tandem
