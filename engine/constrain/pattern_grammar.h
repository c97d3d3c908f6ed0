// A pattern's automaton, made deterministic, as rules of a grammar: a state is a rule. No
// backtracking and no ambiguity is left, whatever the pattern was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/status.h"
#include "engine/constrain/pattern.h"

namespace tandem {

struct PatternGrammar {
  std::string rules;  // NAME_0 and so on
  std::string start;  // the rule that matches the rest of a JSON string behind its opening quote
  int32_t cost = 0;   // of compiling it, in states that only ASCII leads out of
};

// Texts that match and whose length is within the bounds. Errors: INVALID_ARGUMENT (nothing
// matches; more than `max_cost`).
absl::StatusOr<PatternGrammar> GrammarOfPattern(const PatternNfa& nfa, int32_t min_length,
                                                std::optional<int32_t> max_length,
                                                const std::string& name, int32_t max_cost);

}  // namespace tandem
