// Finds a model's weights in a checkpoint by their role and hands them out as views.
//
// Names are tried with the prefixes in use (K2.5/K2.6: "language_model.model."; K2, Moonlight,
// DeepSeek: "model."; ...). Dtype and shape of every tensor are checked against the config; errors
// name file, tensor, expected and found. Where the engine's form differs from the file's, the
// weights are converted into memory of their own:
//   F16, F32, FP8 (128 x 128 blocks) and INT4 on the dense side -> BF16
//   router gate and bias                                        -> float
//   BF16, F16, F32, FP8 experts                                 -> INT4, groups of 32
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "core/memory.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/checkpoint.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

// Weights of one part of the model as views into the mapped shards or into `owned`.
template <class Weights>
struct Loaded {
  Weights weights;
  std::vector<NumaBuffer> owned;
  std::vector<TensorRef> sources;  // what was read from the shards
  int64_t source_bytes() const {
    int64_t sum = 0;
    for (const TensorRef& s : sources) sum += static_cast<int64_t>(s.bytes.size());
    return sum;
  }
  // Takes the sources out of the resident set; views into them stay valid, at the price of a fault.
  void DropSources() const {
    for (const TensorRef& s : sources) s.file->Advise(s.bytes, /*will_need=*/false);
  }
};

class WeightReader {
 public:
  // `checkpoint` must outlive the reader.
  explicit WeightReader(const Checkpoint& checkpoint);

  // Bytes in the files that a load reads.
  struct Sizes {
    int64_t dense_bytes = 0;
    int64_t expert_bytes = 0;
  };
  // Checks presence, dtype and shape of every tensor of the model without reading any of them. Do
  // this before a long load. The error names the first problem and says how many there are.
  absl::StatusOr<Sizes> CheckComplete() const;

  absl::StatusOr<Loaded<GlobalWeights>> Globals() const;
  absl::StatusOr<Loaded<LayerWeights>> Layer(LayerId layer) const;
  // REQUIRES: not a packed image, whose experts are Checkpoint::packed_layer().
  absl::StatusOr<Loaded<ExpertWeights>> Expert(LayerId layer, ExpertId expert) const;
  // A tensor of a routed expert that the model uses.
  bool IsRoutedExpert(std::string_view tensor) const;

  // Asks the system to read these from disk soon.
  void PrefetchLayer(LayerId layer) const;
  void PrefetchExpert(LayerId layer, ExpertId expert) const;

  // True if the experts are not INT4 in the files and get quantised on load.
  bool quantizes_experts() const { return quantizes_experts_; }

 private:
  std::string LayerPrefix(LayerId layer) const;

  const Checkpoint& checkpoint_;
  std::string body_;       // e.g. "language_model.model."
  std::string head_name_;  // e.g. "language_model.lm_head.weight"
  bool quantizes_experts_ = false;
};

}  // namespace tandem
