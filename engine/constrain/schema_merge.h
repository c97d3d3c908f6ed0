// Two JSON schemas that must both hold, as one.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "core/status.h"

namespace tandem {

// Whether the keyword says nothing about what is valid.
bool IsAnnotation(std::string_view keyword);

// Nothing: no value satisfies both. Errors: INVALID_ARGUMENT (the keyword that cannot be combined).
// REQUIRES: neither has "$ref", both are objects.
absl::StatusOr<std::optional<nlohmann::ordered_json>> MergeSchemas(const nlohmann::ordered_json& a,
                                                                   const nlohmann::ordered_json& b);

}  // namespace tandem
