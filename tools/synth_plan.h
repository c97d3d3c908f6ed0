// Which tensors a synthetic checkpoint holds, and where in which shard each one lies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "engine/checkpoint/safetensors.h"
#include "tools/synth.h"
#include "tools/synth_random.h"

namespace tandem {

struct PlannedTensor {
  std::string name;  // as in the file
  std::string role;  // without the model's prefix: the random weights depend on this
  DType dtype = DType::kBf16;
  TensorDims shape;
  Fill fill = Fill::kNormalBf16;
  float sigma = 0;
  std::vector<int32_t> values;  // these instead of random ones (weight_shape)
  int64_t size_bytes = 0;
  int64_t offset = 0;  // in the shard's data
};

struct PlannedShard {
  std::string file;
  std::string header;                  // length field and JSON
  std::vector<PlannedTensor> tensors;  // by offset
  int64_t data_bytes = 0;
  int64_t size_bytes() const { return static_cast<int64_t>(header.size()) + data_bytes; }
};

std::vector<PlannedShard> PlanShards(const SynthModel& model, int64_t max_shard_bytes);

// model.safetensors.index.json.
std::string IndexText(const std::vector<PlannedShard>& shards);

}  // namespace tandem
