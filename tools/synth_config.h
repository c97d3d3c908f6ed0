// config.json and generation_config.json of a synthetic checkpoint.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/synth.h"

namespace tandem {

nlohmann::ordered_json SynthConfig(const SynthModel& model);
nlohmann::ordered_json SynthGenerationConfig(const SynthModel& model);

}  // namespace tandem
