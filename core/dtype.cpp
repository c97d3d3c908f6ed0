#include "core/dtype.h"

namespace tandem {
namespace {

struct Entry {
  DType dtype;
  std::string_view name;
  int64_t size_bytes;
};

constexpr Entry kEntries[] = {
    {DType::kBf16, "BF16", 2},      {DType::kF16, "F16", 2},        {DType::kF32, "F32", 4},
    {DType::kF64, "F64", 8},        {DType::kI8, "I8", 1},          {DType::kU8, "U8", 1},
    {DType::kI16, "I16", 2},        {DType::kI32, "I32", 4},        {DType::kI64, "I64", 8},
    {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1}, {DType::kBool, "BOOL", 1},
};

}  // namespace

int64_t SizeBytes(DType dtype) {
  for (const Entry& e : kEntries)
    if (e.dtype == dtype) return e.size_bytes;
  return 0;
}

std::string_view Name(DType dtype) {
  for (const Entry& e : kEntries)
    if (e.dtype == dtype) return e.name;
  return "?";
}

std::optional<DType> ParseDType(std::string_view name) {
  for (const Entry& e : kEntries)
    if (e.name == name) return e.dtype;
  return std::nullopt;
}

}  // namespace tandem
