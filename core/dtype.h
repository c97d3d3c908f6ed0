// Element types that a checkpoint may hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tandem {

enum class DType { kBf16, kF16, kF32, kF64, kI8, kU8, kI16, kI32, kI64, kF8E4M3, kF8E5M2, kBool };

// Bytes of one element.
int64_t SizeBytes(DType dtype);
// The name safetensors uses, e.g. "BF16".
std::string_view Name(DType dtype);
// Inverse of Name(); nullopt for an unknown name.
std::optional<DType> ParseDType(std::string_view name);

}  // namespace tandem
