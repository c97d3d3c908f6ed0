// config.json of the Kimi K2 / DeepSeek-V3 family, nested (text_config) or flat.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"

namespace tandem {

// How the checkpoint says its weights are quantised. What a tensor really is shows in its own names
// and dtype; this is checked against it.
enum class WeightFormat {
  kPlain,        // BF16, F16 or F32
  kPackedInt4,   // compressed-tensors "pack-quantized", groups of 32
  kFp8Block128,  // F8_E4M3 with one F32 scale per 128 x 128 block
};
std::string_view Name(WeightFormat format);

struct ModelConfig {
  ModelShape shape;
  std::string model_type;       // of the outermost object, e.g. "kimi_k25"
  std::string text_model_type;  // e.g. "kimi_k2"
  bool tie_word_embeddings = false;
  int32_t bos_id = -1;
  int32_t pad_id = -1;
  std::vector<int32_t> eos_ids;  // from config.json and generation_config.json, ascending
  WeightFormat weight_format = WeightFormat::kPlain;
};

// Reads DIR/config.json and, if present, DIR/generation_config.json. Errors name file, key,
// expected and found; what is not supported (another group size, another router, ...) is named as
// such with UNIMPLEMENTED.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& dir);

}  // namespace tandem
