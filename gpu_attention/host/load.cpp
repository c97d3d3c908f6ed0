#include "gpu_attention/host/load.h"

#include "absl/strings/str_cat.h"

namespace tandem {

absl::Status CheckMatrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols) {
  if (m.data() != nullptr && m.dim(0) == rows && m.dim(1) == cols) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected [", rows, ", ", cols, "], got [",
                                                 m.dim(0), ", ", m.dim(1), "]"));
}

absl::Status CheckVector(const char* name, const VectorView& v, int64_t size) {
  if (v.data() != nullptr && v.dim(0) == size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected [", size, "], got [", v.dim(0), "]"));
}

std::vector<float> ToFloats(const VectorView& v) {
  std::vector<float> floats(v.dim(0));
  for (int64_t i = 0; i < v.dim(0); ++i) floats[i] = ToFloat(v[i]);
  return floats;
}

}  // namespace tandem
