// A Hugging Face checkpoint folder: safetensors shards mapped read-only, validated as a whole.
//
// Open() checks every header and the index before anything is used. Thread-safe after Open().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/memory.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/model_config.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

// One tensor as it lies in a mapped shard.
struct TensorRef {
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  const MappedFile* file;
};

class Checkpoint {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& dir);

  const ModelConfig& config() const { return config_; }
  const std::string& dir() const { return dir_; }
  int64_t total_bytes() const { return total_bytes_; }  // of all tensors

  // Full name as in the file. Errors: NOT_FOUND naming folder and tensor.
  absl::StatusOr<TensorRef> Find(std::string_view name) const;
  const std::map<std::string, TensorRef, std::less<>>& tensors() const { return tensors_; }

 private:
  Checkpoint() = default;
  std::string dir_;
  ModelConfig config_;
  std::vector<std::unique_ptr<MappedFile>> shards_;
  std::map<std::string, TensorRef, std::less<>> tensors_;
  int64_t total_bytes_ = 0;
};

// Weights of one part of the model as views, into the mapped shards or into `owned` where a
// conversion was needed (F32 or F16 -> BF16, BF16 experts -> INT4).
template <class Weights>
struct Loaded {
  Weights weights;
  std::vector<NumaBuffer> owned;
  std::vector<TensorRef> sources;  // to drop from the resident set after use
  void DropSources() const {
    for (const TensorRef& s : sources) s.file->Advise(s.bytes, /*will_need=*/false);
  }
};

// Finds tensors by their role, with or without the "language_model." prefix, and checks dtype and
// shape against the config. Errors name file, tensor, expected and found.
class WeightReader {
 public:
  explicit WeightReader(const Checkpoint& checkpoint);
  absl::StatusOr<Loaded<GlobalWeights>> Globals() const;
  absl::StatusOr<Loaded<LayerWeights>> Layer(LayerId layer) const;
  absl::StatusOr<Loaded<ExpertWeights>> Expert(LayerId layer, ExpertId expert) const;
  // True if experts are BF16 and get quantised to INT4 on load.
  bool quantizes_experts() const { return quantizes_experts_; }

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
  bool quantizes_experts_ = false;
};

}  // namespace tandem
