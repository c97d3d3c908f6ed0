// One safetensors file: 8 bytes little-endian header length, a JSON header, then the tensors'
// bytes.
//
// Everything the header says is checked against the file before a byte of data is used, so that
// later code may trust every span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "core/dtype.h"
#include "core/memory.h"
#include "core/status.h"

namespace tandem {

using TensorDims = absl::InlinedVector<int64_t, 2>;  // outermost first

// One tensor as it lies in a mapped shard.
struct TensorRef {
  DType dtype = DType::kBf16;
  TensorDims shape;
  std::span<const std::byte> bytes;  // row-major
  const MappedFile* file = nullptr;
};

struct NamedTensor {
  std::string name;
  TensorRef tensor;
};

// All tensors of the file, by position. Errors name file, tensor, expected and found:
// INVALID_ARGUMENT for a header that contradicts itself or the format, DATA_LOSS for a file shorter
// than its header says. `file` must outlive the result. "__metadata__" is skipped.
absl::StatusOr<std::vector<NamedTensor>> ParseSafetensors(const MappedFile& file);

// "[7168, 2048]".
std::string ShapeText(std::span<const int64_t> shape);

}  // namespace tandem
