// Stand-in for Abseil's StrFormat: printf's conversions, whatever the width of the integers.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

namespace absl {
namespace standin {

template <class T>
std::string FormatOne(std::string spec, const T& value) {
  const char conversion = spec.back();
  char text[512];
  if constexpr (std::is_convertible_v<T, std::string_view>) {
    if (conversion != 's') return "?";
    std::snprintf(text, sizeof(text), spec.c_str(), std::string(value).c_str());
  } else if constexpr (std::is_floating_point_v<T>) {
    std::snprintf(text, sizeof(text), spec.c_str(), static_cast<double>(value));
  } else {
    spec.insert(spec.size() - 1, "ll");
    std::snprintf(text, sizeof(text), spec.c_str(), static_cast<long long>(value));
  }
  return text;
}

// Moves plain text and "%%" over; returns the next conversion, or "".
inline std::string NextSpec(std::string_view& format, std::string& out) {
  while (!format.empty()) {
    const size_t percent = format.find('%');
    out += format.substr(0, percent);
    if (percent == std::string_view::npos) break;
    format.remove_prefix(percent);
    if (format.substr(0, 2) != "%%") {
      const size_t end = format.find_first_of("sdiuxXfge", 1) + 1;
      std::string spec(format.substr(0, end));
      format.remove_prefix(end);
      return spec;
    }
    out += '%';
    format.remove_prefix(2);
  }
  format = {};
  return "";
}

}  // namespace standin

template <class... Args>
std::string StrFormat(std::string_view format, const Args&... args) {
  std::string out;
  const auto put = [&](const auto& arg) {
    const std::string spec = standin::NextSpec(format, out);
    if (!spec.empty()) out += standin::FormatOne(spec, arg);
  };
  (put(args), ...);
  standin::NextSpec(format, out);
  return out;
}

}  // namespace absl
