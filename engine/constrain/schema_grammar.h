// A JSON schema -> the EBNF of a grammar whose every text is valid against it.
//
// The dialect is docs/api.md's ("Constrained output"). What the grammar cannot hold is an
// error, never left out: keywords that say nothing about validity and unknown ones are ignored.
// Objects have their properties in the order of the schema, and none that it does not name unless
// it says which ("additionalProperties") or names none at all.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/status.h"
#include "engine/constrain/answer_rules.h"

namespace tandem {

// What all schemas of one answer have used up.
struct SchemaBudget {
  explicit SchemaBudget(const GrammarLimits& limits) : limits(limits) {}

  const GrammarLimits& limits;
  int64_t schema_bytes = 0;
  int32_t nodes = 0, enum_values = 0;
  int32_t literal_bytes = 0;  // of enums, constants and property names
  int32_t state_cost = 0;     // of patterns and lengths: see pattern_grammar.h
};
inline constexpr int32_t kMaxLiteralBytes = 64 << 10;  // measured: compiles in 2 s
inline constexpr int32_t kMaxStateCost = 500;          // the same

enum class SchemaRoot { kAny, kObject };

// Errors: INVALID_ARGUMENT, beginning with `what` and the place in the schema.
absl::StatusOr<std::string> SchemaGrammar(const nlohmann::ordered_json& schema,
                                          const std::string& what, SchemaRoot root,
                                          SchemaBudget& budget);

}  // namespace tandem
