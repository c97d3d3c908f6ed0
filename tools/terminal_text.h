// Text from elsewhere, made harmless for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// Replaces control characters other than newline and tab (an escape sequence could rewrite the
// screen or the window's title) by U+FFFD. `text` is whole UTF-8 characters.
std::string ForTerminal(std::string_view text);

}  // namespace tandem
