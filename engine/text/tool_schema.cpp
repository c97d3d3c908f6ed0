#include "engine/text/tool_schema.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/python_json.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

absl::Status Unsupported(const std::string& what) { return absl::UnimplementedError(what); }

// Whether Python's `if value:` holds.
bool IsTruthy(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

SchemaType TextType(std::string text) {
  SchemaType type;
  type.text = std::move(text);
  return type;
}

// "key: value" pairs of those `keys` (in ascending order) that the schema has.
absl::StatusOr<std::string> ConstraintsOf(const Json& schema,
                                          std::initializer_list<const char*> keys) {
  std::string pairs;
  for (const char* key : keys) {
    const auto found = schema.find(key);
    if (found == schema.end()) continue;
    if (found->is_structured()) return Unsupported(absl::StrCat(key, " is no scalar"));
    absl::StrAppend(&pairs, pairs.empty() ? "" : ", ", key, ": ", PythonStr(*found));
  }
  return pairs;
}

// Whether an enum member fits a type name; names other than these four accept everything.
bool Fits(const Json& value, const std::string& type) {
  if (value.is_null()) return true;
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  // In Python a bool is an int.
  if (type == "integer") return value.is_number_integer() || value.is_boolean();
  if (type == "number") return value.is_number() || value.is_boolean();
  return true;
}

// The type name that enum members are held against: a name, or a list of one or of one and "null".
absl::StatusOr<std::string> EnumTypeName(const Json& type) {
  const auto is_null_name = [](const Json& name) { return name == "null"; };
  const Json* chosen = &type;
  if (type.is_array()) {
    if (type.size() == 1) {
      chosen = &type[0];
    } else if (type.size() == 2 && (is_null_name(type[0]) || is_null_name(type[1]))) {
      chosen = is_null_name(type[0]) ? &type[1] : &type[0];
    } else {
      return Unsupported("an enum of several types");
    }
  }
  if (!chosen->is_string()) return Unsupported("an enum whose type is no name");
  return chosen->get<std::string>();
}

class SchemaParser {
 public:
  absl::StatusOr<ParametersSchema> ParseAll(const Json& parameters);

 private:
  absl::StatusOr<SchemaType> Parse(const Json& schema);
  absl::StatusOr<SchemaType> ParseKind(const Json& schema);
  absl::StatusOr<SchemaType> ParseRef(const Json& ref);
  absl::StatusOr<SchemaType> ParseAnyOf(const Json& alternatives);
  absl::StatusOr<SchemaType> ParseEnum(const Json& schema);
  absl::StatusOr<SchemaType> ParseUnion(const Json& names);
  absl::StatusOr<SchemaType> ParseScalar(const Json& schema, const std::string& name);
  absl::StatusOr<SchemaType> ParseObject(const Json& schema);
  absl::StatusOr<SchemaType> ParseArray(const Json& schema);
  absl::Status ParseFields(const Json& schema, SchemaType& object);
  absl::Status Register(const Json& definitions);

  bool refers_to_itself_ = false;
  std::vector<std::pair<std::string, const Json*>> definitions_;
};

absl::Status SchemaParser::Register(const Json& definitions) {
  if (!IsTruthy(definitions)) return absl::OkStatus();
  if (!definitions.is_object()) return Unsupported("$defs is no object");
  for (const auto& [name, schema] : definitions.items()) {
    const auto known = std::find_if(definitions_.begin(), definitions_.end(),
                                    [&name = name](const auto& d) { return d.first == name; });
    if (known != definitions_.end())
      known->second = &schema;
    else
      definitions_.emplace_back(name, &schema);
  }
  return absl::OkStatus();
}

// The order of the tests is the order in which the published encoder decides.
absl::StatusOr<SchemaType> SchemaParser::ParseKind(const Json& schema) {
  if (schema.contains("$ref")) return ParseRef(schema["$ref"]);
  if (schema.contains("anyOf")) return ParseAnyOf(schema["anyOf"]);
  if (schema.contains("enum")) return ParseEnum(schema);
  if (!schema.contains("type")) {
    if (schema.empty()) return TextType("any");
    return Unsupported("a schema without $ref, anyOf, enum and type");
  }
  const Json& type = schema["type"];
  if (type.is_array()) return ParseUnion(type);
  if (!type.is_string()) return Unsupported("a type that is no name");
  const auto& name = type.get_ref<const std::string&>();
  if (name == "object") return ParseObject(schema);
  if (name == "array") return ParseArray(schema);
  return ParseScalar(schema, name);
}

absl::StatusOr<SchemaType> SchemaParser::Parse(const Json& schema) {
  if (schema.is_boolean()) return TextType(schema.get<bool>() ? "any" : "null");
  if (!schema.is_object()) return Unsupported("a schema that is no object");
  TANDEM_ASSIGN_OR_RETURN(SchemaType type, ParseKind(schema));
  TANDEM_ASSIGN_OR_RETURN(type.description, DescriptionOf(schema));
  return type;
}

absl::StatusOr<SchemaType> SchemaParser::ParseRef(const Json& ref) {
  const std::string target = ref.is_string() ? ref.get<std::string>() : "";
  if (target == "#") {
    refers_to_itself_ = true;
    return TextType("parameters");
  }
  if (target.rfind("#/$defs/", 0) != 0) return Unsupported("$ref to \"" + target + "\"");
  const std::string name = target.substr(target.rfind('/') + 1);
  for (const auto& [known, schema] : definitions_) {
    if (known != name) continue;
    if (!schema->is_object()) break;
    return TextType(name);
  }
  return Unsupported("$ref to an unknown definition \"" + name + "\"");
}

absl::StatusOr<SchemaType> SchemaParser::ParseAnyOf(const Json& alternatives) {
  if (!alternatives.is_array()) return Unsupported("anyOf is no list");
  SchemaType type;
  type.kind = SchemaType::Kind::kAnyOf;
  for (const Json& alternative : alternatives) {
    TANDEM_ASSIGN_OR_RETURN(SchemaType member, Parse(alternative));
    type.members.push_back(std::move(member));
  }
  return type;
}

absl::StatusOr<SchemaType> SchemaParser::ParseEnum(const Json& schema) {
  const Json& values = schema["enum"];
  if (!values.is_array()) return Unsupported("enum is no list");
  std::string type_name;
  if (schema.contains("type")) {
    TANDEM_ASSIGN_OR_RETURN(type_name, EnumTypeName(schema["type"]));
  }
  std::string text;
  for (const Json& value : values) {
    if (value.is_structured()) return Unsupported("an enum member that is no scalar");
    if (!Fits(value, type_name)) return Unsupported("an enum member that is no " + type_name);
    const std::string printed = PythonStr(value);
    absl::StrAppend(&text, text.empty() ? "" : " | ",
                    value.is_string() ? "\"" + printed + "\"" : printed);
  }
  return TextType(std::move(text));
}

absl::StatusOr<SchemaType> SchemaParser::ParseUnion(const Json& names) {
  static const std::pair<const char*, const char*> kNames[] = {
      {"string", "string"},   {"number", "number"}, {"integer", "number"},  //
      {"boolean", "boolean"}, {"null", "null"},     {"object", "{}"},      {"array", "Array<any>"}};
  std::string text;
  for (const Json& name : names) {
    const auto* known = std::find_if(std::begin(kNames), std::end(kNames),
                                     [&](const auto& pair) { return name == pair.first; });
    if (known == std::end(kNames)) return Unsupported("a list of types with an unknown name");
    absl::StrAppend(&text, text.empty() ? "" : " | ", known->second);
  }
  return TextType(std::move(text));
}

absl::StatusOr<SchemaType> SchemaParser::ParseScalar(const Json& schema, const std::string& name) {
  SchemaType type = TextType(name == "integer" ? "number" : name);
  if (name == "string") {
    TANDEM_ASSIGN_OR_RETURN(type.constraints,
                            ConstraintsOf(schema, {"maxLength", "minLength", "pattern"}));
  } else if (name == "number" || name == "integer") {
    TANDEM_ASSIGN_OR_RETURN(type.constraints, ConstraintsOf(schema, {"maximum", "minimum"}));
  }
  return type;
}

absl::StatusOr<SchemaType> SchemaParser::ParseArray(const Json& schema) {
  SchemaType type;
  type.kind = SchemaType::Kind::kArray;
  TANDEM_ASSIGN_OR_RETURN(type.constraints, ConstraintsOf(schema, {"maxItems", "minItems"}));
  if (!schema.contains("items") || !IsTruthy(schema["items"])) {
    type.members.push_back(TextType("any"));
    return type;
  }
  TANDEM_ASSIGN_OR_RETURN(SchemaType item, Parse(schema["items"]));
  type.members.push_back(std::move(item));
  return type;
}

absl::StatusOr<SchemaType> SchemaParser::ParseObject(const Json& schema) {
  SchemaType type;
  type.kind = SchemaType::Kind::kObject;
  if (schema.contains("$defs")) TANDEM_RETURN_IF_ERROR(Register(schema["$defs"]));
  const auto additional = schema.find("additionalProperties");
  if (additional != schema.end() && !additional->is_null()) {
    if (*additional == false) {
      type.additional.push_back(TextType("never"));
    } else {
      TANDEM_ASSIGN_OR_RETURN(SchemaType other, Parse(*additional));
      type.additional.push_back(std::move(other));
    }
  }
  if (schema.contains("properties")) TANDEM_RETURN_IF_ERROR(ParseFields(schema, type));
  return type;
}

absl::Status SchemaParser::ParseFields(const Json& schema, SchemaType& object) {
  const Json& properties = schema["properties"];
  if (!properties.is_object()) return Unsupported("properties is no object");
  std::set<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array()) return Unsupported("required is no list");
    for (const Json& name : schema["required"]) {
      if (name.is_structured()) return Unsupported("required holds something that is no name");
      if (name.is_string()) required.insert(name.get<std::string>());
    }
  }
  for (const auto& [name, property] : properties.items()) {
    TANDEM_ASSIGN_OR_RETURN(SchemaType type, Parse(property));
    SchemaField field{name, !required.contains(name), std::nullopt, std::move(type)};
    if (property.is_object() && property.contains("default")) {
      const Json& value = property["default"];
      const bool is_literal = value.is_number() || value.is_boolean();
      if (!value.is_null()) field.default_text = is_literal ? PythonStr(value) : DumpSpaced(value);
    }
    object.fields.push_back(std::move(field));
  }
  return absl::OkStatus();
}

absl::StatusOr<ParametersSchema> SchemaParser::ParseAll(const Json& parameters) {
  ParametersSchema all;
  TANDEM_ASSIGN_OR_RETURN(all.object, ParseObject(parameters));
  all.refers_to_itself = refers_to_itself_;
  // Definitions inside definitions can be referred to but are not printed.
  const auto printed = definitions_;
  for (const auto& [name, schema] : printed) {
    if (!schema->is_object()) return Unsupported("a definition that is no object");
    TANDEM_ASSIGN_OR_RETURN(SchemaType type, Parse(*schema));
    all.definitions.push_back({name, type.description, std::move(type)});
  }
  return all;
}

}  // namespace

absl::StatusOr<std::string> DescriptionOf(const Json& schema) {
  const auto found = schema.find("description");
  if (found == schema.end() || !IsTruthy(*found)) return std::string();
  if (!found->is_string()) return Unsupported("a description that is no text");
  return found->get<std::string>();
}

absl::StatusOr<ParametersSchema> ParseParameters(const Json& parameters) {
  if (!IsTruthy(parameters)) return SchemaParser().ParseAll(Json::object());
  if (!parameters.is_object()) return Unsupported("parameters is no object");
  return SchemaParser().ParseAll(parameters);
}

}  // namespace tandem
