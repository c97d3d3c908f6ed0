#include "engine/checkpoint/weight_collector.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cpu_experts/quantize.h"
#include "engine/checkpoint/convert.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {
namespace {

constexpr int64_t kGroup = 32;      // inputs per INT4 scale
constexpr int64_t kFp8Block = 128;  // rows and columns per FP8 scale

std::string DTypeNames(std::initializer_list<DType> dtypes) {
  return absl::StrJoin(dtypes, " or ", [](std::string* out, DType d) {
    absl::StrAppend(out, std::string(Name(d)));
  });
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

// Reads rows of a matrix as floats; the only place that knows FP8's block scales.
class WeightCollector::RowSource {
 public:
  RowSource(const TensorRef& tensor, int64_t in, const float* block_scales)
      : tensor_(tensor), in_(in), block_scales_(block_scales) {}

  void Read(int64_t row, std::span<float> to) const {
    const int64_t row_bytes = in_ * SizeBytes(tensor_.dtype);
    ToFloats(tensor_.dtype, tensor_.bytes.subspan(row * row_bytes, row_bytes), to);
    if (block_scales_ == nullptr) return;
    const float* scales = block_scales_ + row / kFp8Block * CeilDiv(in_, kFp8Block);
    for (int64_t i = 0; i < in_; ++i) to[i] *= scales[i / kFp8Block];
  }

 private:
  const TensorRef& tensor_;
  int64_t in_;
  const float* block_scales_;
};

void WeightCollector::Problem(absl::Status status) {
  ++problems_;
  if (status_.ok()) status_ = std::move(status);
}

template <class T>
T* WeightCollector::Own(int64_t n) {
  auto buffer = NumaBuffer::Allocate(n * sizeof(T));
  if (!buffer.ok()) {
    Problem(buffer.status());
    return nullptr;
  }
  owned_.push_back(std::move(buffer).value());
  return owned_.back().as<T>();
}

// A tensor behind an odd number of bytes cannot be viewed in place.
template <class T>
const T* WeightCollector::ViewOrCopy(const TensorRef& tensor) {
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignof(T) == 0) {
    return reinterpret_cast<const T*>(tensor.bytes.data());
  }
  T* copy = Own<T>(CeilDiv(tensor.bytes.size(), sizeof(T)));
  if (copy != nullptr) std::memcpy(copy, tensor.bytes.data(), tensor.bytes.size());
  return copy;
}

const TensorRef* WeightCollector::Take(const std::string& name, Dims shape,
                                       std::initializer_list<DType> dtypes) {
  const TensorRef* tensor = checkpoint_.Lookup(name);
  if (tensor == nullptr) {
    Problem(absl::NotFoundError(absl::StrCat(checkpoint_.dir(), ": tensor ", Quoted(name),
                                             " is missing; expected ", DTypeNames(dtypes), " ",
                                             ShapeText(std::span(shape.begin(), shape.size())))));
    return nullptr;
  }
  const bool right_shape =
      std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end());
  const bool right_dtype = std::find(dtypes.begin(), dtypes.end(), tensor->dtype) != dtypes.end();
  if (!right_shape || !right_dtype) {
    Problem(absl::InvalidArgumentError(
        absl::StrCat(tensor->file->path(), ": tensor ", Quoted(name), ": expected ",
                     DTypeNames(dtypes), " ", ShapeText(std::span(shape.begin(), shape.size())),
                     ", found ", std::string(Name(tensor->dtype)), " ", ShapeText(tensor->shape),
                     "; the file and config.json do not belong together")));
    return nullptr;
  }
  source_bytes_ += static_cast<int64_t>(tensor->bytes.size());
  sources_.push_back(*tensor);
  return tensor;
}

const TensorRef* WeightCollector::TakeFloat(const std::string& name, Dims shape, bool allow_fp8) {
  if (allow_fp8) {
    return Take(name, shape, {DType::kBf16, DType::kF16, DType::kF32, DType::kF8E4M3});
  }
  return Take(name, shape, {DType::kBf16, DType::kF16, DType::kF32});
}

WeightCollector::RowSource WeightCollector::Rows(const std::string& name, const TensorRef& tensor,
                                                 int64_t out, int64_t in) {
  const float* scales = nullptr;
  if (tensor.dtype == DType::kF8E4M3) {
    const TensorRef* scale = Take(absl::StrCat(name, "_scale_inv"),
                                  {CeilDiv(out, kFp8Block), CeilDiv(in, kFp8Block)}, {DType::kF32});
    if (scale != nullptr && loading()) scales = ViewOrCopy<float>(*scale);
  }
  return RowSource(tensor, in, scales);
}

VectorView WeightCollector::Vector(const std::string& name, int64_t size) {
  const TensorRef* tensor = TakeFloat(name, {size}, /*allow_fp8=*/false);
  if (tensor == nullptr || !loading()) return {};
  if (tensor->dtype == DType::kBf16) return {ViewOrCopy<bf16>(*tensor), {size}};
  std::vector<float> floats(size);
  ToFloats(tensor->dtype, tensor->bytes, floats);
  bf16* owned = Own<bf16>(size);
  if (owned == nullptr) return {};
  ToBf16s(floats, std::span(owned, size));
  return {owned, {size}};
}

MatrixView WeightCollector::Matrix(const std::string& name, int64_t out, int64_t in) {
  const std::string stem(absl::StripSuffix(name, ".weight"));
  if (checkpoint_.Lookup(name) == nullptr &&
      checkpoint_.Lookup(absl::StrCat(stem, ".weight_packed")) != nullptr) {
    return Dequantize(stem, out, in);
  }
  const TensorRef* tensor = TakeFloat(name, {out, in}, /*allow_fp8=*/true);
  if (tensor == nullptr) return {};
  const RowSource rows = Rows(name, *tensor, out, in);
  if (!loading()) return {};
  if (tensor->dtype == DType::kBf16) return {ViewOrCopy<bf16>(*tensor), {out, in}};
  bf16* owned = Own<bf16>(out * in);
  if (owned == nullptr) return {};
  std::vector<float> row(in);
  for (int64_t o = 0; o < out; ++o) {
    rows.Read(o, row);
    ToBf16s(row, std::span(owned + o * in, in));
  }
  return {owned, {out, in}};
}

View<const float, 2> WeightCollector::FloatMatrix(const std::string& name, int64_t out,
                                                  int64_t in) {
  const TensorRef* tensor = TakeFloat(name, {out, in}, /*allow_fp8=*/false);
  if (tensor == nullptr || !loading()) return {};
  float* owned = Own<float>(out * in);
  if (owned == nullptr) return {};
  ToFloats(tensor->dtype, tensor->bytes, std::span(owned, out * in));
  return {owned, {out, in}};
}

View<const float, 1> WeightCollector::FloatVector(const std::string& name, int64_t size) {
  const TensorRef* tensor = TakeFloat(name, {size}, /*allow_fp8=*/false);
  if (tensor == nullptr || !loading()) return {};
  float* owned = Own<float>(size);
  if (owned == nullptr) return {};
  ToFloats(tensor->dtype, tensor->bytes, std::span(owned, size));
  return {owned, {size}};
}

Int4Matrix WeightCollector::Int4(const std::string& stem, int64_t out, int64_t in) {
  if (checkpoint_.Lookup(absl::StrCat(stem, ".weight_packed")) == nullptr &&
      checkpoint_.Lookup(absl::StrCat(stem, ".weight")) != nullptr) {
    return Quantize(absl::StrCat(stem, ".weight"), out, in);
  }
  return TakePacked(stem, out, in);
}

// weight_shape holds (out, in); reading it touches a page, so the check before a load does not.
void WeightCollector::CheckShapeTensor(const std::string& name, int64_t out, int64_t in) {
  if (checkpoint_.Lookup(name) == nullptr) return;  // says nothing that the config does not
  const TensorRef* tensor = Take(name, {2}, {DType::kI32, DType::kI64});
  if (tensor == nullptr || !loading()) return;
  int64_t found[2];
  for (int d = 0; d < 2; ++d) {
    int32_t narrow = 0;
    if (tensor->dtype == DType::kI64) {
      std::memcpy(&found[d], tensor->bytes.data() + 8 * d, 8);
    } else {
      std::memcpy(&narrow, tensor->bytes.data() + 4 * d, 4);
      found[d] = narrow;
    }
  }
  if (found[0] == out && found[1] == in) return;
  Problem(absl::InvalidArgumentError(absl::StrCat(
      tensor->file->path(), ": tensor ", Quoted(name), ": expected the values ",
      ShapeText(std::initializer_list<int64_t>{out, in}), ", found ", ShapeText(found))));
}

Int4Matrix WeightCollector::TakePacked(const std::string& stem, int64_t out, int64_t in) {
  if (in % kGroup != 0) {
    Problem(
        absl::UnimplementedError(absl::StrCat(checkpoint_.dir(), ": ", Quoted(stem), " has ", in,
                                              " inputs; INT4 needs a multiple of ", kGroup)));
    return {};
  }
  const std::string packed_name = absl::StrCat(stem, ".weight_packed");
  const TensorRef* found = checkpoint_.Lookup(packed_name);
  const bool as_bytes = found != nullptr && found->dtype == DType::kU8;
  const TensorRef* packed = as_bytes ? Take(packed_name, {out, in / 2}, {DType::kU8})
                                     : Take(packed_name, {out, in / 8}, {DType::kI32});
  const TensorRef* scale = TakeFloat(absl::StrCat(stem, ".weight_scale"), {out, in / kGroup},
                                     /*allow_fp8=*/false);
  CheckShapeTensor(absl::StrCat(stem, ".weight_shape"), out, in);
  if (packed == nullptr || scale == nullptr || !loading()) return {};

  Int4Matrix matrix;
  matrix.packed = {reinterpret_cast<const uint8_t*>(packed->bytes.data()), {out, in / 2}};
  const int64_t n_scales = out * in / kGroup;
  const bf16* scales = nullptr;
  if (scale->dtype == DType::kBf16) {
    scales = ViewOrCopy<bf16>(*scale);
  } else if (bf16* owned = Own<bf16>(n_scales)) {
    std::vector<float> floats(n_scales);
    ToFloats(scale->dtype, scale->bytes, floats);
    ToBf16s(floats, std::span(owned, n_scales));
    scales = owned;
  }
  matrix.scales = {scales, {out, in / kGroup}};
  return matrix;
}

// BF16, F16, F32 or FP8 in the file, INT4 in memory.
Int4Matrix WeightCollector::Quantize(const std::string& name, int64_t out, int64_t in) {
  const MatrixView weights = Matrix(name, out, in);
  if (!loading()) return {};
  uint8_t* packed = Own<uint8_t>(out * in / 2);
  bf16* scales = Own<bf16>(out * in / kGroup);
  if (packed == nullptr || scales == nullptr) return {};
  const View<uint8_t, 2> packed_view(packed, {out, in / 2});
  const View<bf16, 2> scales_view(scales, {out, in / kGroup});
  QuantizeInt4(weights, packed_view, scales_view);
  return {packed_view, scales_view};
}

// Packed INT4 on the dense side, which computes in BF16: w = (nibble - 8) * scale, rounded.
MatrixView WeightCollector::Dequantize(const std::string& stem, int64_t out, int64_t in) {
  const Int4Matrix matrix = TakePacked(stem, out, in);
  if (!loading()) return {};
  bf16* owned = Own<bf16>(out * in);
  if (owned == nullptr) return {};
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      const int nibble = matrix.packed(o, i / 2) >> (i % 2 * 4) & 15;
      const float scale = ToFloat(matrix.scales(o, i / kGroup));
      owned[o * in + i] = ToBf16(static_cast<float>(nibble - 8) * scale);
    }
  }
  return {owned, {out, in}};
}

}  // namespace tandem
