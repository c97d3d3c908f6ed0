// Finds stop strings in a stream of bytes that may be cut anywhere.
//
// Bytes that could be the beginning of a stop string are held back until it is clear. The answer
// depends on the bytes alone, never on how they were cut: the stop string that is complete first
// ends the stream (the longest one, if several end at the same byte).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace tandem {

// Which part of an answer stop strings look at: what follows the first of the tokens `from` (empty:
// from the beginning on), up to the first of the tokens `until`. Markers themselves are
// outside.
struct StopScope {
  std::vector<int32_t> from, until;
};

class StopMatcher {
 public:
  // REQUIRES: Validate(stops) was OK.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // INVALID_ARGUMENT for an empty string, more than 64, or one longer than 4,096 bytes.
  static absl::Status Validate(const std::vector<std::string>& stops);

  // Takes more bytes; returns those that are certainly not part of a stop string. REQUIRES: not
  // stopped().
  std::string Push(std::string_view bytes);
  // What was held back; to be called at an end that is no stop string.
  std::string Finish();

  bool stopped() const { return !matched_.empty(); }
  const std::string& matched() const { return matched_; }  // empty: none yet

 private:
  size_t HeldBackLength() const;

  std::vector<std::string> stops_;
  std::string held_;
  std::string matched_;
};

}  // namespace tandem
