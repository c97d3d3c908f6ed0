// Checkpoints with random weights in the real format, any shape: config.json, safetensors shards
// with their index, tokenizer. For tests, and to run full-width layers without the real weights.
//
// Every byte is a function of the seed, the tensor's name and its place in the tensor: neither the
// number of threads nor the cut into shards changes a weight.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "engine/checkpoint/progress.h"

namespace tandem {

// How the routed experts are written.
enum class SynthFormat {
  kInt4,         // compressed-tensors "pack-quantized", as K2.6
  kBf16Experts,  // everything BF16, as Moonlight
  kFp8,          // F8_E4M3 with 128 x 128 block scales in all linear layers, as DeepSeek-V3
};

struct SynthModel {
  std::string name, description;
  ModelShape shape;
  SynthFormat format = SynthFormat::kInt4;
  bool nested = false;  // text_config and the "language_model." prefix
  bool tied = false;    // no lm_head: the embedding serves
};

// k2.6, k2-thinking, k2, moonlight, deepseek-v3, tiny.
const std::vector<SynthModel>& SynthModels();
// Errors: INVALID_ARGUMENT listing the names.
absl::StatusOr<SynthModel> FindSynthModel(const std::string& name);

struct SynthOptions {
  std::string out_dir;
  SynthModel model;
  uint64_t seed = 1;
  std::string tokenizer_dir;  // "": a synthetic vocabulary
  bool force = false;         // replace a checkpoint that is there
  int64_t max_shard_bytes = 4'000'000'000;
  int threads = 0;  // 0: one per physical core
};

// Checks shape, folder and free space first. Errors remove what was written so far:
// INVALID_ARGUMENT (shape, tokenizer), ALREADY_EXISTS (folder not empty), RESOURCE_EXHAUSTED
// (disk).
absl::Status Synthesize(const SynthOptions& options, const ProgressFn& progress = {});

}  // namespace tandem
