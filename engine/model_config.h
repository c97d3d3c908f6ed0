// config.json of the Kimi K2 / DeepSeek-V3 family, nested (text_config) or flat.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"

namespace tandem {

struct ModelConfig {
  ModelShape shape;
  std::string model_type;       // of the outermost object, e.g. "kimi_k25"
  std::string text_model_type;  // e.g. "kimi_k2"
  bool tie_word_embeddings = false;
  int32_t bos_id = -1;
  int32_t pad_id = -1;
  std::vector<int32_t> eos_ids;   // from config.json and generation_config.json
  std::string expert_format;      // "pack-quantized" or "" (not quantised)
  int32_t expert_group_size = 0;  // 32 for K2.6
};

// Reads DIR/config.json and, if present, DIR/generation_config.json. Errors name file, key,
// expected and found; unsupported features (FP8 weights, group size other than 32, ...) are named
// as such.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& dir);

}  // namespace tandem
