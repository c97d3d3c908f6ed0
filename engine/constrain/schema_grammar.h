// A JSON schema -> the EBNF of a grammar whose every text is valid against it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/status.h"
#include "engine/constrain/answer_rules.h"

namespace tandem {

enum class SchemaRoot { kAny, kObject };

// What is left of the limits, for all schemas of one answer.
struct SchemaBudget {
  explicit SchemaBudget(const GrammarLimits& limits) : limits(limits) {}
  const GrammarLimits& limits;
};

absl::StatusOr<std::string> SchemaGrammar(const nlohmann::ordered_json& schema,
                                          std::string_view what, SchemaRoot root,
                                          SchemaBudget& budget);

}  // namespace tandem
