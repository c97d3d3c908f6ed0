#include "engine/constrain/schema_writer.h"

#include <algorithm>
#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/constrain/schema_merge.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kUnsupported = {"not",
                                     "if",
                                     "then",
                                     "else",
                                     "dependentRequired",
                                     "dependencies",
                                     "contains",
                                     "minContains",
                                     "maxContains",
                                     "dependentSchemas",
                                     "propertyNames",
                                     "unevaluatedItems",
                                     "unevaluatedProperties",
                                     "$dynamicRef",
                                     "$recursiveRef"};

// What a keyword makes of a schema without "type".
const std::map<std::string, const char*, std::less<>> kTypeOfKeyword = {
    {"properties", "object"},
    {"required", "object"},
    {"additionalProperties", "object"},
    {"items", "array"},
    {"prefixItems", "array"},
    {"minItems", "array"},
    {"maxItems", "array"},
    {"pattern", "string"},
    {"minLength", "string"},
    {"maxLength", "string"},
    {"minimum", "number"},
    {"maximum", "number"},
    {"exclusiveMinimum", "number"},
    {"exclusiveMaximum", "number"},
    {"multipleOf", "number"},
    {"patternProperties", "object"},
    {"minProperties", "object"},
    {"maxProperties", "object"},
    {"uniqueItems", "array"}};

bool SaysSomething(const Json& schema) {
  for (const auto& [key, value] : schema.items())
    if (!IsAnnotation(key)) return true;
  return false;
}

Json Without(Json schema, const char* key) {
  schema.erase(key);
  return schema;
}

// "~1" and "~0" of JSON pointers, "%41" of URIs.
std::string Unescaped(std::string_view part) {
  std::string text;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1')) {
      text += part[++i] == '0' ? '~' : '/';
    } else if (part[i] == '%' && i + 2 < part.size() && isxdigit(part[i + 1]) &&
               isxdigit(part[i + 2])) {
      text += static_cast<char>(std::stoi(std::string(part.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      text += part[i];
    }
  }
  return text;
}

// The values a schema is a list of; null: it is not one.
Json FiniteValues(const Json& schema) {
  if (!schema.is_object()) return nullptr;
  if (schema.contains("const")) return Json::array({schema["const"]});
  if (schema.contains("enum") && schema["enum"].is_array()) return schema["enum"];
  return nullptr;
}

bool Share(const Json& a, const Json& b) {
  return std::any_of(a.begin(), a.end(),
                     [&](const Json& v) { return std::find(b.begin(), b.end(), v) != b.end(); });
}

// The types a schema allows; null: any.
Json TypesOf(const Json& schema) {
  if (!schema.is_object()) return nullptr;
  if (const Json values = FiniteValues(schema); !values.is_null()) {
    Json types = Json::array();
    for (const Json& v : values) types.push_back(v.type_name());
    return types;
  }
  Json types = Json::array();
  if (schema.contains("type")) {
    for (const Json& type :
         schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]}))
      types.push_back(type == "integer" ? Json("number") : type);
    return types;
  }
  for (const auto& [key, value] : schema.items())
    if (const auto it = kTypeOfKeyword.find(key); it != kTypeOfKeyword.end())
      return Json::array({it->second});
  return nullptr;
}

bool Requires(const Json& schema, const std::string& name) {
  if (!schema.contains("required") || !schema["required"].is_array()) return false;
  const Json& required = schema["required"];
  return std::find(required.begin(), required.end(), name) != required.end();
}

// Whether what is written for `a` always lacks something that `b` requires.
bool Lacks(const Json& a, const Json& b) {
  if (!a.contains("properties") || !b.contains("required") || !b["required"].is_array())
    return false;
  if (a.contains("additionalProperties") && a["additionalProperties"] != false) return false;
  return std::any_of(b["required"].begin(), b["required"].end(), [&](const Json& name) {
    return name.is_string() && !a["properties"].contains(name.get<std::string>()) &&
           !Requires(a, name.get<std::string>());
  });
}

// Whether a required property tells the two apart.
bool ToldApart(const Json& a, const Json& b) {
  if (!a.contains("properties") || !b.contains("properties")) return false;
  if (!a["properties"].is_object() || !b["properties"].is_object()) return false;
  for (const auto& [name, schema] : a["properties"].items()) {
    if (!Requires(a, name) || !Requires(b, name) || !b["properties"].contains(name)) continue;
    const Json mine = FiniteValues(schema), other = FiniteValues(b["properties"][name]);
    if (!mine.is_null() && !other.is_null() && !Share(mine, other)) return true;
  }
  return false;
}

bool Disjoint(const Json& a, const Json& b) {
  const Json a_values = FiniteValues(a), b_values = FiniteValues(b);
  if (!a_values.is_null() && !b_values.is_null()) return !Share(a_values, b_values);
  const Json a_types = TypesOf(a), b_types = TypesOf(b);
  if (!a_types.is_null() && !b_types.is_null() && !Share(a_types, b_types)) return true;
  return ToldApart(a, b) || (Lacks(a, b) && Lacks(b, a));
}

}  // namespace

absl::StatusOr<std::string> SchemaWriter::Write(SchemaRoot root) {
  Json schema = root_;
  if (root == SchemaRoot::kObject) {
    if (schema.is_null()) schema = Json::object();
    TANDEM_ASSIGN_OR_RETURN(schema, Resolved(schema));
    if (schema.is_object()) {
      TANDEM_ASSIGN_OR_RETURN(auto both, MergeSchemas(schema, Json{{"type", "object"}}));
      if (!both) return Error("arguments are an object, the schema allows none");
      schema = *std::move(both);
    }
  }
  TANDEM_ASSIGN_OR_RETURN(const Expression value, Value(schema));
  TANDEM_RETURN_IF_ERROR(CheckEndings());
  return absl::StrCat("root ::= ", value.text, "\n", rules_);
}

absl::Status SchemaWriter::Error(const std::string& message) const {
  return absl::InvalidArgumentError(absl::StrCat(what_, " at ", path_, ": ", message));
}

absl::Status SchemaWriter::Spend(int32_t& used, int64_t amount, int64_t limit,
                                 const char* of_what) const {
  if (used + amount > limit)
    return Error(absl::StrCat("more than ", limit, " ", of_what, " in the schemas of a request"));
  used += static_cast<int32_t>(amount);
  return absl::OkStatus();
}

std::string SchemaWriter::NewRule(const std::string& body) {
  std::string name = NewName();
  absl::StrAppend(&rules_, name, " ::= ", body, "\n");
  return name;
}

SchemaWriter::Result SchemaWriter::ValueAt(const Json& schema, const std::string& key) {
  const size_t size = path_.size();
  absl::StrAppend(&path_, "/", key);
  Result result = Value(schema);
  path_.resize(result.ok() ? size : path_.size());
  return result;
}

SchemaWriter::Result SchemaWriter::Value(const Json& schema) {
  TANDEM_RETURN_IF_ERROR(Spend(budget_.nodes, 1, budget_.limits.max_nodes, "subschemas"));
  if (depth_ >= budget_.limits.max_depth)
    return Error(absl::StrCat("nested more than ", budget_.limits.max_depth,
                              " levels deep, references followed"));
  if (schema.is_boolean()) {
    if (schema == true) return Expression{"json_value", {}};
    return Error("false allows nothing");
  }
  if (!schema.is_object()) return Error("a schema is an object or a boolean");
  ++depth_;
  Result result = Object(schema);
  --depth_;
  return result;
}

SchemaWriter::Result SchemaWriter::Object(const Json& schema) {
  for (const char* key : kUnsupported)
    if (schema.contains(key) && !(schema[key] == false && key[0] == 'u'))
      return Error(absl::StrCat("'", key, "' is not supported"));
  if (schema.contains("$ref")) {
    if (!SaysSomething(Without(schema, "$ref"))) return Reference(schema);
    TANDEM_ASSIGN_OR_RETURN(const Json resolved, Resolved(schema));
    return Value(resolved);
  }
  if (schema.contains("allOf")) {
    TANDEM_ASSIGN_OR_RETURN(const Json together, Together(schema));
    return Value(together);
  }
  if (schema.contains("anyOf")) return Union(schema, "anyOf");
  if (schema.contains("oneOf")) return Union(schema, "oneOf");
  if (schema.contains("const") || schema.contains("enum")) return Literals(schema);
  return Keywords(schema);
}

SchemaWriter::Result SchemaWriter::Keywords(const Json& schema) {
  if (!schema.contains("type")) {
    for (const auto& [key, value] : schema.items())
      if (const auto it = kTypeOfKeyword.find(key); it != kTypeOfKeyword.end())
        return Typed(schema, it->second);
    return Expression{"json_value", {}};
  }
  const Json& type = schema["type"];
  if (type.is_string()) return Typed(schema, type.get<std::string>());
  if (!type.is_array() || type.empty()) return Error("'type' is a name or a list of names");
  Expression any{"", {Ending::kAny, 0, {}}};
  for (const Json& one : type) {
    if (!one.is_string()) return Error("'type' is a name or a list of names");
    if (one == "integer" && std::find(type.begin(), type.end(), "number") != type.end()) continue;
    TANDEM_ASSIGN_OR_RETURN(Expression part, Typed(schema, one.get<std::string>()));
    absl::StrAppend(&any.text, any.text.empty() ? "" : " | ", part.text);
    any.ending.parts.push_back(std::move(part.ending));
  }
  return Expression{NewRule(any.text), any.ending};
}

// ---- References.

absl::StatusOr<const Json*> SchemaWriter::Target(const Json& schema) {
  if (!schema["$ref"].is_string()) return Error("'$ref' is not a string");
  const std::string ref = schema["$ref"].get<std::string>();
  if (ref != "#" && !ref.starts_with("#/"))
    return Error("'$ref' must be '#' or begin with '#/': other documents are not read");
  const Json* at = &root_;
  for (size_t begin = 2; begin < ref.size() + (ref.size() > 1);) {
    const size_t end = std::min(ref.find('/', begin), ref.size());
    const std::string part = Unescaped(std::string_view(ref).substr(begin, end - begin));
    if (at->is_object() && at->contains(part)) {
      at = &(*at)[part];
    } else if (int32_t index; at->is_array() && absl::SimpleAtoi(part, &index) && index >= 0 &&
                              index < static_cast<int32_t>(at->size())) {
      at = &(*at)[index];
    } else {
      return Error("'$ref' names what the schema does not have");
    }
    begin = end + 1;
  }
  return at;
}

absl::StatusOr<Json> SchemaWriter::Resolved(const Json& schema) {
  Json resolved = schema;
  for (int steps = 0; resolved.is_object() && resolved.contains("$ref"); ++steps) {
    if (steps > budget_.limits.max_depth) return Error("'$ref's lead around in a circle");
    TANDEM_ASSIGN_OR_RETURN(const Json* target, Target(resolved));
    const Json rest = Without(resolved, "$ref");
    if (!target->is_object() || !SaysSomething(rest)) {
      resolved = *target;
      continue;
    }
    // The rest holds with what the target says, which may be another reference.
    Json head = *target, tail = rest;
    const bool chained = head.contains("$ref");
    Json next = chained ? Json{{"$ref", head["$ref"]}} : Json::object();
    head.erase("$ref");
    TANDEM_ASSIGN_OR_RETURN(auto both, MergeSchemas(head, tail));
    if (!both) return Error("'$ref' and what stands beside it contradict each other");
    next.update(*both);
    resolved = std::move(next);
  }
  return resolved;
}

SchemaWriter::Result SchemaWriter::Reference(const Json& schema) {
  TANDEM_ASSIGN_OR_RETURN(const Json* target, Target(schema));
  const std::string ref = schema["$ref"].get<std::string>();
  if (std::ranges::find(open_, ref) != open_.end())
    return Error("'$ref's lead around in a circle without a value between them");
  auto [it, is_new] = referred_.try_emplace(ref);
  if (is_new) {
    it->second.rule = NewName();
    rule_of_ending_.push_back(ref);
    const std::string rule = it->second.rule, path = path_;
    path_ = ref;
    open_.push_back(ref);
    TANDEM_ASSIGN_OR_RETURN(Expression value, Value(*target));
    open_.pop_back();
    path_ = path;
    absl::StrAppend(&rules_, rule, " ::= ", value.text, "\n");
    referred_[ref].ending = std::move(value.ending);
  }
  const auto index = std::ranges::find(rule_of_ending_, ref) - rule_of_ending_.begin();
  return Expression{referred_[ref].rule, {Ending::kRule, static_cast<int32_t>(index), {}}};
}

// The rules whose values all come to an end: the least fixed point.
absl::Status SchemaWriter::CheckEndings() const {
  std::vector<bool> ends(rule_of_ending_.size());
  const auto holds = [&](const auto& self, const Ending& e) -> bool {
    const auto part = [&](const Ending& p) { return self(self, p); };
    switch (e.kind) {
      case Ending::kAlways:
        return true;
      case Ending::kRule:
        return ends[e.rule];
      case Ending::kAll:
        return std::ranges::all_of(e.parts, part);
      case Ending::kAny:
        return std::ranges::any_of(e.parts, part);
    }
    return false;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < ends.size(); ++i) {
      if (ends[i] || !holds(holds, *referred_.at(rule_of_ending_[i]).ending)) continue;
      ends[i] = changed = true;
    }
  }
  for (size_t i = 0; i < ends.size(); ++i)
    if (!ends[i])
      return absl::InvalidArgumentError(
          absl::StrCat(what_, " at ", rule_of_ending_[i],
                       ": a value of this schema requires another one, without end"));
  return absl::OkStatus();
}

// ---- Schemas of schemas.

absl::StatusOr<Json> SchemaWriter::Together(const Json& schema) {
  if (!schema["allOf"].is_array() || schema["allOf"].empty())
    return Error("'allOf' is not a list of schemas");
  Json together = Without(schema, "allOf");
  for (const Json& part : schema["allOf"]) {
    TANDEM_ASSIGN_OR_RETURN(const Json resolved, Resolved(part));
    if (resolved == true) continue;
    if (!resolved.is_object()) return Error("'allOf' holds something that allows nothing");
    absl::StatusOr<std::optional<Json>> both = MergeSchemas(together, resolved);
    if (!both.ok()) return Error(std::string(both.status().message()));
    if (!*both) return Error("the parts of 'allOf' contradict each other");
    together = **std::move(both);
  }
  return together;
}

SchemaWriter::Result SchemaWriter::Union(const Json& schema, const char* keyword) {
  if (!schema[keyword].is_array() || schema[keyword].empty())
    return Error(absl::StrCat("'", keyword, "' is not a list of schemas"));
  const Json beside = Without(schema, keyword);
  const bool merges = SaysSomething(beside);
  std::vector<Json> options;
  for (const Json& option : schema[keyword]) {
    if (!merges || option == true) {
      options.push_back(merges ? beside : option);
      continue;
    }
    TANDEM_ASSIGN_OR_RETURN(const Json resolved, Resolved(option));
    if (!resolved.is_object()) continue;
    absl::StatusOr<std::optional<Json>> both = MergeSchemas(beside, resolved);
    if (!both.ok()) return Error(std::string(both.status().message()));
    if (*both) options.push_back(**std::move(both));
  }
  if (options.empty()) return Error("nothing satisfies all of the schema");
  if (std::string_view(keyword) == "oneOf") TANDEM_RETURN_IF_ERROR(CheckDisjoint(options));
  Expression any{"", {Ending::kAny, 0, {}}};
  for (size_t i = 0; i < options.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(Expression part, ValueAt(options[i], absl::StrCat(keyword, "/", i)));
    absl::StrAppend(&any.text, any.text.empty() ? "" : " | ", part.text);
    any.ending.parts.push_back(std::move(part.ending));
  }
  return Expression{NewRule(any.text), any.ending};
}

absl::Status SchemaWriter::CheckDisjoint(const std::vector<Json>& options) {
  std::vector<Json> resolved;
  for (const Json& option : options) {
    TANDEM_ASSIGN_OR_RETURN(Json one, Resolved(option));
    resolved.push_back(std::move(one));
  }
  if (resolved.size() > 64) return Error("'oneOf' has more than 64 options; use 'anyOf'");
  for (size_t i = 0; i < resolved.size(); ++i)
    for (size_t j = i + 1; j < resolved.size(); ++j)
      if (!Disjoint(resolved[i], resolved[j]))
        return Error(
            absl::StrCat("a value may satisfy both ", i, " and ", j,
                         " of 'oneOf'; tell them apart by a required constant, or use 'anyOf'"));
  return absl::OkStatus();
}

}  // namespace tandem
