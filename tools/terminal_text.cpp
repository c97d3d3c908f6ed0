#include "tools/terminal_text.h"

namespace tandem {

std::string ForTerminal(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, the eight-bit control characters, are C2 80 to C2 9F.
    const bool wide_control =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (wide_control) ++i;
    if (wide_control || byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\t')) {
      safe += kReplacement;
    } else {
      safe += text[i];
    }
  }
  return safe;
}

}  // namespace tandem
