// JSON files that come with a checkpoint, read with care: bounded size and depth, no duplicate
// keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/status.h"

namespace tandem {

// Errors: NOT_FOUND if there is no such file; INVALID_ARGUMENT naming the file and what is wrong.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::string& path,
                                            int64_t max_bytes = int64_t{64} << 20);
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const std::string& path);

// Text from a file as it may appear in a message: quoted, escaped, at most 120 characters.
std::string Quoted(const std::string& text);

}  // namespace tandem
