// tandem-image.json: what a packed image consists of and what it was packed from. A folder with
// this file and "complete": true is a packed image; with false, one that `tandem pack` has not
// finished.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/packed_image.h"

namespace tandem {

class Checkpoint;

inline constexpr char kManifestName[] = "tandem-image.json";

// A file of the image other than the experts'.
struct PackedFile {
  std::string name;
  int64_t bytes = 0;
  Hash128 hash;
  bool operator==(const PackedFile&) const = default;
};

struct PackedManifest {
  bool complete = false;
  Hash128 source;  // fingerprint of the checkpoint
  int32_t shards = 1;
  std::vector<PackedFile> files;  // weights of the dense side, configuration, tokenizer

  std::string ToJson() const;
};

// Nothing if the folder holds no manifest. Errors: INVALID_ARGUMENT naming file and field,
// UNIMPLEMENTED for another version.
absl::StatusOr<std::optional<PackedManifest>> ReadManifest(const std::string& dir);

// What identifies a checkpoint: config.json, and of every shard its name, size, header and 64
// samples of 4 KiB. It sees another model, another training run, another download; it does not see
// a few changed weights between the samples. Of a packed image it is the fingerprint of what that
// was packed from.
absl::StatusOr<Hash128> FingerprintOf(const Checkpoint& checkpoint);

// "experts-layer-00007.tandem"
std::string PackedLayerName(int32_t layer);
// What the file of a layer must say of itself.
PackedLayerInfo PackedInfoOf(const ModelShape& shape, int32_t layer,
                             const PackedManifest& manifest);

}  // namespace tandem
