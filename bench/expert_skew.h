// How unevenly a bench asks for experts.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

// Draws sets of distinct experts, each expert as often as its frequency says.
class ExpertSkew {
 public:
  // `description`: "" all alike; "zipf:S" for frequencies 1 / rank^S, ranks dealt at random; else
  // the path of a file of one positive number per expert, separated by white space.
  // Errors: INVALID_ARGUMENT or NOT_FOUND naming what was wrong.
  static absl::StatusOr<ExpertSkew> Create(const std::string& description, int32_t experts,
                                           std::mt19937_64& random);

  // Appends top_k distinct experts. REQUIRES: top_k <= experts.
  void Draw(int32_t top_k, std::mt19937_64& random, std::vector<int32_t>& ids) const;

 private:
  std::vector<double> frequencies_;  // [experts]
};

}  // namespace tandem
