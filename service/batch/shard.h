// One of several equal parts of a batch: of the requests numbered from 0, those whose number
// divided by `of` leaves index - 1. So parts are alike however the input is sorted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace tandem {

struct Shard {
  int32_t index = 1, of = 1;

  bool Has(int64_t request) const { return request % of == index - 1; }
  std::string ToText() const;  // "2/8"
  // Error: INVALID_ARGUMENT saying what is expected.
  static absl::StatusOr<Shard> Parse(std::string_view text);
  bool operator==(const Shard&) const = default;
};

}  // namespace tandem
