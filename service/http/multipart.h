// Bodies of multipart/form-data (RFC 7578), taken apart without copying their contents. Pure;
// linear in the body's size, whatever it holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace tandem {

struct FormPart {
  std::string name, filename;  // filename: "" if there is none; never to be used as a path
  std::string_view content;    // part of the body
};

inline constexpr size_t kMaxFormParts = 16;
inline constexpr size_t kMaxFormHeadBytes = 4096;  // of one part

// `content_type` is the header, which has the boundary. At least one part. Errors:
// INVALID_ARGUMENT saying what is wrong, in no field.
absl::StatusOr<std::vector<FormPart>> ParseForm(const std::string& content_type,
                                                std::string_view body);

}  // namespace tandem
