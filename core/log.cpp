#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace tandem {

void InitLogging(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("tandem");
  logger->set_pattern("%H:%M:%S.%e %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace tandem
