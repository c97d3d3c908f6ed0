// Any bytes as a config.json: refused with a sentence, or a shape within the stated bounds.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/log.h"
#include "engine/checkpoint/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  static const std::string dir = [] {
    char name[] = "/tmp/tandem-fuzz-XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    return std::string(name);
  }();
  std::ofstream(dir + "/config.json", std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const auto config = ReadModelConfig(dir);
  if (!config.ok() && config.status().message().empty()) std::abort();
  if (config.ok() && (config->shape.vocab <= 0 || config->shape.layers <= 0)) std::abort();
  return 0;
}
