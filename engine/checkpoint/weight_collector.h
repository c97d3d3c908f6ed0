// Gathers the tensors of one part of the model: finds each, checks dtype and shape, and hands out a
// view, converted where needed. Problems are counted, the first one is kept; so a part is written
// down once and serves both the check before a load and the load itself. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/memory.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/checkpoint.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

class WeightCollector {
 public:
  enum class Mode {
    kCheck,  // headers only: views come back empty, no byte of a tensor is touched
    kLoad,
  };
  WeightCollector(const Checkpoint& checkpoint, Mode mode) : checkpoint_(checkpoint), mode_(mode) {}

  // Full tensor names. A view is empty after a problem.
  VectorView Vector(const std::string& name, int64_t size);
  // [out, in]; as BF16, F16, F32, FP8 with block scales, or packed INT4 (`name` ends in ".weight").
  MatrixView Matrix(const std::string& name, int64_t out, int64_t in);
  View<const float, 2> FloatMatrix(const std::string& name, int64_t out, int64_t in);
  View<const float, 1> FloatVector(const std::string& name, int64_t size);
  // `stem`: name without ".weight" or ".weight_packed".
  Int4Matrix Int4(const std::string& stem, int64_t out, int64_t in);

  int64_t problems() const { return problems_; }
  const absl::Status& status() const { return status_; }
  int64_t source_bytes() const { return source_bytes_; }
  std::vector<NumaBuffer> TakeOwned() { return std::move(owned_); }
  std::vector<TensorRef> TakeSources() { return std::move(sources_); }

 private:
  using Dims = std::initializer_list<int64_t>;
  // The tensor if it is there with this shape and one of these dtypes; else null and a problem.
  const TensorRef* Take(const std::string& name, Dims shape, std::initializer_list<DType> dtypes);
  const TensorRef* TakeFloat(const std::string& name, Dims shape, bool allow_fp8);
  void CheckShapeTensor(const std::string& name, int64_t out, int64_t in);
  Int4Matrix TakePacked(const std::string& stem, int64_t out, int64_t in);
  Int4Matrix Quantize(const std::string& name, int64_t out, int64_t in);
  MatrixView Dequantize(const std::string& stem, int64_t out, int64_t in);
  // Rows of a float tensor as floats, block scales applied.
  class RowSource;
  RowSource Rows(const std::string& name, const TensorRef& tensor, int64_t out, int64_t in);
  template <class T>
  T* Own(int64_t n);
  template <class T>
  const T* ViewOrCopy(const TensorRef& tensor);
  void Problem(absl::Status status);
  bool loading() const { return mode_ == Mode::kLoad && status_.ok(); }

  const Checkpoint& checkpoint_;
  Mode mode_;
  absl::Status status_;
  int64_t problems_ = 0;
  int64_t source_bytes_ = 0;
  std::vector<NumaBuffer> owned_;
  std::vector<TensorRef> sources_;
};

}  // namespace tandem
