#include "placement/text_bars.h"

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

bool Continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

std::string Bar(double share, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths =
      static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width) * 8));
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  const int used = (eighths + 7) / 8;
  return bar.append(width - used, ' ');
}

std::string Column(std::string_view text, int width) {
  const auto columns = static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return !Continues(c); }));
  if (columns <= width) return std::string(text).append(width - columns, ' ');
  const int dots = std::min(width, 3);
  size_t end = 0;
  for (int kept = 0; kept < width - dots; ++kept)
    for (++end; end < text.size() && Continues(text[end]);) ++end;
  return std::string(text.substr(0, end)).append(dots, '.');
}

std::string Thousands(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3)
    digits.insert(at, ",");
  return digits;
}

}  // namespace tandem
