// JSON that a client sent, read with bounds: size, depth, keys of an object, values in all. The
// bounds hold while it is read, before anything large is built.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "core/status.h"
#include "service/limits.h"

namespace tandem {

// Errors: INVALID_ARGUMENT, worded to go on a name: "is 9000000 bytes long; expected at most ...",
// "is not valid JSON: ...", "is nested too deeply; ...", "has an object with too many keys; ...",
// "has the key \"a\" twice in one object", "holds more than ... values". Lone surrogates and bytes
// that are no UTF-8 are not valid JSON. Order of keys is kept.
absl::StatusOr<nlohmann::ordered_json> ParseBoundedJson(std::string_view text, const Limits& limits,
                                                        int64_t max_bytes);

}  // namespace tandem
