// Checks of checkpoint tensors against the model's shape, and their conversion to floats.
#pragma once

#include <vector>

#include "core/status.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

// INVALID_ARGUMENT naming the tensor, the expected and the found shape.
absl::Status CheckMatrix(const char* name, const MatrixView& m, int64_t rows, int64_t cols);
absl::Status CheckVector(const char* name, const VectorView& v, int64_t size);

std::vector<float> ToFloats(const VectorView& v);

}  // namespace tandem
