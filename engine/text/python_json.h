// JSON values as Python prints them, which is what Kimi's templates were written for: key order as
// given, non-ASCII kept, floats in their shortest form (json.dumps with ensure_ascii=False).
// Integers outside 64 bits arrive as floats from the JSON parser and are printed as such.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/status.h"

namespace tandem {

inline constexpr int kMaxJsonDepth = 100;

// Refuses what cannot be printed: nesting deeper than kMaxJsonDepth, numbers that are not finite,
// values that JSON does not have. The message begins with `where`. The functions below REQUIRE a
// value that passed.
absl::Status CheckPrintable(const nlohmann::ordered_json& value, const std::string& where);

// json.dumps(value, ensure_ascii=False): ", " and ": " between things.
std::string DumpSpaced(const nlohmann::ordered_json& value);
// The same with separators=(",", ":").
std::string DumpCompact(const nlohmann::ordered_json& value);

// str(value) of a scalar: text as it is, True, None, 1.5. REQUIRES: no array, no object.
std::string PythonStr(const nlohmann::ordered_json& value);

// A copy whose objects have their keys in ascending order of code points, at every level.
nlohmann::ordered_json DeepSorted(const nlohmann::ordered_json& value);

}  // namespace tandem
