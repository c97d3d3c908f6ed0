// Logging: spdlog with one house format, on stderr. LogInfo("loaded {} experts", n).
#pragma once

#include <spdlog/spdlog.h>

namespace tandem {

// Sets format and level ("debug", "info", "warn", "error", "off"); call once at start.
void InitLogging(const std::string& level = "info");

template <class... Args>
void LogDebug(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <class... Args>
void LogInfo(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <class... Args>
void LogWarning(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <class... Args>
void LogError(spdlog::format_string_t<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace tandem
