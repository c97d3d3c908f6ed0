// Regular expressions of JSON schemas ("pattern"): a parser for the part of ECMA-262's syntax that
// has one meaning everywhere, into an automaton without backtracking.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "engine/constrain/code_points.h"

namespace tandem {

// A nondeterministic automaton over code points. State 0 is the start.
struct PatternNfa {
  enum class Edge : uint8_t { kEmpty, kChars, kAtBegin, kAtEnd };
  struct Arc {
    Edge edge;
    int32_t to;
    int32_t set = -1;  // kChars
  };
  std::vector<std::vector<Arc>> arcs;  // by state
  std::vector<CodePoints> sets;
  int32_t accept = 0;
};

struct PatternLimits {
  int32_t max_bytes, max_repeat;
  int32_t max_states = 4096;  // of the automaton
};

// The automaton of a search: what comes before and after the match is free. Errors:
// INVALID_ARGUMENT.
absl::StatusOr<PatternNfa> ParsePattern(std::string_view pattern, const PatternLimits& limits);

}  // namespace tandem
