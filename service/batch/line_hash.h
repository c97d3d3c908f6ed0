// Hashes by which lines, files and beginnings of prompts are known again (XXH3). Not against people
// who look for collisions: they would only harm their own batch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/numeric/int128.h"

namespace tandem {

uint64_t LineHash(std::string_view text);
absl::uint128 IdHash(std::string_view text);  // of texts that are only told apart by it

// 128 bits of text that comes in pieces.
class FingerprintSum {
 public:
  FingerprintSum();
  ~FingerprintSum();
  FingerprintSum(const FingerprintSum&) = delete;
  FingerprintSum& operator=(const FingerprintSum&) = delete;

  void Add(std::string_view text);
  std::string ToHex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tandem
