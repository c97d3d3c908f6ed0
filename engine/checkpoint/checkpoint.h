// A Hugging Face checkpoint folder: safetensors shards mapped read-only, validated as a whole.
//
// Open() checks every header and the index before anything is used. Thread-safe after Open().
// What the tensors mean for the model is engine/checkpoint/weight_reader.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/memory.h"
#include "core/status.h"
#include "engine/checkpoint/model_config.h"
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
  int64_t total_bytes() const { return total_bytes_; }  // of all tensors
  int64_t n_tensors() const { return static_cast<int64_t>(tensors_.size()); }
  int64_t n_shards() const { return static_cast<int64_t>(shards_.size()); }

  // Full name as in the file; null if there is no such tensor. Valid as long as the checkpoint.
  const TensorRef* Lookup(std::string_view name) const;
  // Errors: NOT_FOUND naming folder and tensor.
  absl::StatusOr<TensorRef> Find(std::string_view name) const;

 private:
  Checkpoint() = default;
  absl::Status MapShards(const std::vector<std::string>& files);
  absl::Status AddTensors(std::vector<std::vector<NamedTensor>> shards);

  std::string dir_;
  ModelConfig config_;
  std::vector<MappedFile> shards_;  // never resized once mapped: tensors point into it
  absl::flat_hash_map<std::string, TensorRef> tensors_;
  int64_t total_bytes_ = 0;
};

}  // namespace tandem
