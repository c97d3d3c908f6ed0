// The JSON schema of a tool's parameters as a tree of printable types: what Kimi's TypeScript
// declarations can express (kimi_k26: TypeScript tool declaration). tool_typescript.cpp prints it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

struct SchemaField;

struct SchemaType {
  enum class Kind { kText, kAnyOf, kObject, kArray };

  Kind kind = Kind::kText;
  std::string text;                    // kText: the type as printed: number, "a" | "b", a name
  std::string description;             // may have several lines
  std::string constraints;             // "maximum: 7, minimum: 1"
  std::vector<SchemaType> members;     // kAnyOf: the alternatives; kArray: the item
  std::vector<SchemaField> fields;     // kObject, in the order of the schema
  std::vector<SchemaType> additional;  // kObject: type of other keys; at most one
};

struct SchemaField {
  std::string name;
  bool optional = false;
  std::optional<std::string> default_text;
  SchemaType type;
};

struct SchemaDefinition {
  std::string name;
  std::string description;
  SchemaType type;
};

struct ParametersSchema {
  SchemaType object;
  bool refers_to_itself = false;  // "$ref": "#" occurs
  std::vector<SchemaDefinition> definitions;
};

// Fails on constructs that have no TypeScript form. REQUIRES: CheckPrintable(parameters).
absl::StatusOr<ParametersSchema> ParseParameters(const nlohmann::ordered_json& parameters);

// The description of a schema or function; "" if there is none. Fails if it is no text.
absl::StatusOr<std::string> DescriptionOf(const nlohmann::ordered_json& schema);

}  // namespace tandem
