// Checks of a model's shape and of checkpoint tensors against it, and their conversion to floats.
// The same for all backends.
#pragma once

#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/status.h"
#include "gpu_attention/dense_weights.h"

namespace tandem {

// INVALID_ARGUMENT naming the size, what it is and what a backend can serve.
absl::Status CheckShape(const ModelShape& shape);

// INVALID_ARGUMENT naming the tensor (and layer), the expected and the found shape.
absl::Status CheckGlobals(const ModelShape& shape, const GlobalWeights& weights);
absl::Status CheckLayer(const ModelShape& shape, LayerId layer, const LayerWeights& weights);

std::vector<float> ToFloats(const VectorView& v);
// Whether BF16 holds every value exactly.
bool IsBf16(const View<const float, 2>& m);

}  // namespace tandem
