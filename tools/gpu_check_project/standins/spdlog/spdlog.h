// Stand-in for spdlog: lines on stderr, "{...}" filled in order and without formats.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>

namespace spdlog {

template <class...>
using format_string_t = std::string_view;

template <class... Args>
void WriteLine(std::string_view format, const Args&... args) {
  std::ostringstream line;
  const auto put = [&](const auto& arg) {
    const size_t open = format.find('{'), close = format.find('}');
    if (close == std::string_view::npos) return;
    line << format.substr(0, open) << arg;
    format.remove_prefix(close + 1);
  };
  (put(args), ...);
  line << format << '\n';
  std::fputs(line.str().c_str(), stderr);
}

template <class... Args>
void debug(std::string_view, const Args&...) {}
template <class... Args>
void info(std::string_view format, const Args&... args) {
  WriteLine(format, args...);
}
template <class... Args>
void warn(std::string_view format, const Args&... args) {
  WriteLine(format, args...);
}
template <class... Args>
void error(std::string_view format, const Args&... args) {
  WriteLine(format, args...);
}

}  // namespace spdlog
