#include "engine/constrain/schema_grammar.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/constrain/json_grammar.h"
#include "engine/constrain/schema_writer.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// Without recursion: the schema may be nested deeper than a stack can hold.
absl::Status CheckNesting(const Json& schema, const std::string& what, int32_t max_depth) {
  std::vector<std::pair<const Json*, int32_t>> todo = {{&schema, 0}};
  while (!todo.empty()) {
    const auto [value, depth] = todo.back();
    todo.pop_back();
    if (depth > max_depth)
      return absl::InvalidArgumentError(
          absl::StrCat(what, " is nested too deeply; at most ", max_depth, " levels are allowed"));
    if (!value->is_structured()) continue;
    for (const Json& part : *value) todo.push_back({&part, depth + 1});
  }
  return absl::OkStatus();
}

absl::Status CheckBytes(const Json& schema, const std::string& what, SchemaBudget& budget) {
  try {
    budget.schema_bytes += static_cast<int64_t>(schema.dump().size());
  } catch (const Json::exception&) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is not valid UTF-8"));
  }
  if (budget.schema_bytes > budget.limits.max_schema_bytes)
    return absl::InvalidArgumentError(absl::StrCat(what, ": the schemas of a request have ",
                                                   budget.schema_bytes, " bytes, at most ",
                                                   budget.limits.max_schema_bytes, " are allowed"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SchemaGrammar(const Json& schema, const std::string& what,
                                          SchemaRoot root, SchemaBudget& budget) {
  // A level of the schema is up to four of JSON: properties, name, anyOf, index.
  TANDEM_RETURN_IF_ERROR(CheckNesting(schema, what, 4 * budget.limits.max_depth));
  TANDEM_RETURN_IF_ERROR(CheckBytes(schema, what, budget));
  TANDEM_ASSIGN_OR_RETURN(const std::string rules, SchemaWriter(schema, what, budget).Write(root));
  return absl::StrCat(rules, JsonRules());
}

}  // namespace tandem
