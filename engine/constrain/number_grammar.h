// Numbers between bounds, as expressions of a grammar.
//
// Every number that comes out is within the bounds; of all that are, those come out that have at
// most 15 digits before the point and that need no exponent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tandem {

struct NumberBounds {
  std::optional<double> low, high;
  bool low_open = false, high_open = false;  // the bound itself is outside
};

// Empty: no number is within the bounds.
std::string IntegerGrammar(const NumberBounds& bounds);
std::string NumberGrammar(const NumberBounds& bounds);

}  // namespace tandem
