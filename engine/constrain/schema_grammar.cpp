#include "engine/constrain/schema_grammar.h"

namespace tandem {

absl::StatusOr<std::string> SchemaGrammar(const nlohmann::ordered_json&, std::string_view,
                                          SchemaRoot, SchemaBudget&) {
  return absl::UnimplementedError("JSON schemas are not supported yet");
}

}  // namespace tandem
