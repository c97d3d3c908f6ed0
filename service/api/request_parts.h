// What the APIs' requests have in common, under the names that each has for it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/http/exchange.h"
#include "service/limits.h"

namespace tandem {

inline constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

// The body of a request. INVALID_ARGUMENT that begins with "the body".
absl::StatusOr<nlohmann::ordered_json> ParseBody(const HttpRequest& request, const Limits& limits);

// "tools[3]".
std::string EntryOf(const std::string& list, size_t index);

// Tools in the form that RenderChat() takes; null if there are none. `convert` gets a tool and
// where it stands.
absl::StatusOr<nlohmann::ordered_json> ConvertTools(
    const nlohmann::ordered_json* tools, const Limits& limits,
    const std::function<absl::StatusOr<nlohmann::ordered_json>(const nlohmann::ordered_json&,
                                                               const std::string&)>& convert);

// Stop strings; `stops` is a list or null, `field` its name.
absl::StatusOr<std::vector<std::string>> ParseStops(const nlohmann::ordered_json* stops,
                                                    const std::string& field, const Limits& limits);

// Token ids of a vocabulary; `ids` is a list or null.
absl::StatusOr<std::vector<int32_t>> ParseIds(const nlohmann::ordered_json* ids,
                                              const std::string& field, int32_t vocab);

}  // namespace tandem
