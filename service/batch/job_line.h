// One line of a batch's input:
//   {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "service/limits.h"

namespace tandem {

inline constexpr size_t kMaxCustomIdBytes = 512;

// "/v1/chat/completions", "/v1/completions", "/tokenize".
std::span<const char* const> BatchUrls();

struct JobLine {
  std::string custom_id;  // "" if the line has none
  std::string url;
  nlohmann::ordered_json body;
  // Why this is no request, worded to go on "line 7: "; INVALID_ARGUMENT. What could be read of the
  // line is there all the same.
  absl::Status error;
};

// Without the line's end. `endpoint`: the one url that is accepted; "": each of BatchUrls().
JobLine ParseJobLine(std::string_view text, const Limits& limits, const std::string& endpoint);

// Whether there is nothing in it but spaces.
bool IsBlank(std::string_view line);

}  // namespace tandem
