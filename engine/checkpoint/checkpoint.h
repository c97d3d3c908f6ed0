// A Hugging Face checkpoint folder: safetensors shards mapped read-only, validated as a whole. Or a
// packed image of one (engine/checkpoint/packed_manifest.h): then the shards hold the dense side,
// and the routed experts lie in layer files of their own.
//
// Open() checks every header and the index before anything is used. Thread-safe after Open().
// What the tensors mean for the model is engine/checkpoint/weight_reader.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/memory.h"
#include "core/status.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/packed_manifest.h"
#include "engine/checkpoint/safetensors.h"

namespace tandem {

class Checkpoint {
 public:
  // Takes the shards that DIR/model.safetensors.index.json names, or DIR/model.safetensors alone.
  // Shards may be symbolic links (the Hugging Face cache is made of them), but their names must be
  // plain file names. Errors name file, tensor, expected and found.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);

  const ModelConfig& config() const { return config_; }
  const std::string& dir() const { return dir_; }
  int64_t total_bytes() const { return total_bytes_; }  // of all tensors, packed experts included
  int64_t n_tensors() const { return static_cast<int64_t>(tensors_.size()); }
  int64_t n_shards() const { return static_cast<int64_t>(shards_.size()); }

  std::span<const MappedFile> shards() const { return shards_; }
  const absl::flat_hash_map<std::string, TensorRef>& tensors() const { return tensors_; }

  // Null unless this is a packed image.
  const PackedManifest* packed() const { return packed_ ? &*packed_ : nullptr; }
  // The packed experts of a layer. REQUIRES: packed() and an MoE layer.
  const std::shared_ptr<const PackedLayer>& packed_layer(int32_t layer) const {
    return packed_layers_[layer];
  }

  // Full name as in the file; null if there is no such tensor. Valid as long as the checkpoint.
  const TensorRef* Lookup(std::string_view name) const;
  // Errors: NOT_FOUND naming folder and tensor.
  absl::StatusOr<TensorRef> Find(std::string_view name) const;

 private:
  Checkpoint() = default;
  absl::Status MapShards(const std::vector<std::string>& files);
  absl::Status AddTensors(std::vector<std::vector<NamedTensor>> shards);
  absl::Status CheckPackedFiles() const;
  absl::Status OpenPackedLayers();

  std::string dir_;
  ModelConfig config_;
  std::vector<MappedFile> shards_;  // never resized once mapped: tensors point into it
  absl::flat_hash_map<std::string, TensorRef> tensors_;
  int64_t total_bytes_ = 0;
  std::optional<PackedManifest> packed_;
  std::vector<std::shared_ptr<const PackedLayer>> packed_layers_;  // [layers]; null: not MoE
};

}  // namespace tandem
