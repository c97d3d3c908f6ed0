#include "engine/checkpoint/identify_model.h"

#include <xxhash.h>

#include <algorithm>

#include "engine/checkpoint/weight_reader.h"

namespace tandem {

absl::StatusOr<ModelIdentity> IdentifyModel(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  const ModelShape& shape = config.shape;
  ModelIdentity identity = IdentityOf(shape, config.model_type);
  if (shape.moe_layers() == 0) return identity;
  const WeightReader reader(checkpoint);
  uint64_t hash = 0;
  for (const int32_t layer : {shape.dense_layers, shape.layers - 1}) {
    TANDEM_ASSIGN_OR_RETURN(const Loaded<LayerWeights> loaded, reader.Layer({layer}));
    const auto& gate = loaded.weights.router.gate;
    hash = XXH3_64bits_withSeed(gate.data(), gate.size() * sizeof(float), hash);
  }
  identity.router_hash = std::max<uint64_t>(hash, 1);
  return identity;
}

}  // namespace tandem
