#include "engine/constrain/schema_merge.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 16> kAnnotations = {
    "title",       "description",   "default",  "examples", "example", "deprecated",
    "readOnly",    "writeOnly",     "$comment", "$schema",  "$id",     "$defs",
    "definitions", "discriminator", "nullable", "strict"};

Json AsList(const Json& value) { return value.is_array() ? value : Json::array({value}); }

bool Has(const Json& list, const Json& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// The types of both; a number that is an integer is both.
Json CommonTypes(const Json& a, const Json& b) {
  Json common = Json::array();
  for (const Json& type : a) {
    if (Has(b, type) || (type == "integer" && Has(b, "number"))) common.push_back(type);
    if (type == "number" && !Has(b, "number") && Has(b, "integer")) common.push_back("integer");
  }
  return common;
}

Json CommonValues(const Json& a, const Json& b) {
  Json common = Json::array();
  for (const Json& value : a)
    if (Has(b, value)) common.push_back(value);
  return common;
}

Json AllOf(const Json& a, const Json& b) { return {{"allOf", Json::array({a, b})}}; }

absl::Status MergeProperties(Json& into, const Json& more) {
  if (!into.is_object() || !more.is_object())
    return absl::InvalidArgumentError("'properties' is not an object");
  for (const auto& [name, schema] : more.items()) {
    if (!into.contains(name)) {
      into[name] = schema;
    } else if (into[name] != schema) {
      into[name] = AllOf(into[name], schema);
    }
  }
  return absl::OkStatus();
}

bool ClosedTo(const Json& a, const Json& b) {
  if (!a.contains("additionalProperties") || a["additionalProperties"] == true) return false;
  if (!b.contains("properties")) return false;
  for (const auto& [name, schema] : b["properties"].items())
    if (!a.contains("properties") || !a["properties"].contains(name)) return true;
  return false;
}

}  // namespace

bool IsAnnotation(std::string_view keyword) {
  return std::ranges::find(kAnnotations, keyword) != kAnnotations.end() ||
         keyword.starts_with("x-");
}

absl::StatusOr<std::optional<Json>> MergeSchemas(const Json& a, const Json& b) {
  if (ClosedTo(a, b) || ClosedTo(b, a))
    return absl::InvalidArgumentError(
        "schemas that must both hold have different 'properties', and one of them has "
        "'additionalProperties'");
  Json both = a;
  for (const auto& [key, value] : b.items()) {
    if (!both.contains(key) || IsAnnotation(key)) {
      both[key] = value;
      continue;
    }
    Json& mine = both[key];
    if (mine == value) continue;
    const bool numbers = mine.is_number() && value.is_number();
    if (key == "type") {
      mine = CommonTypes(AsList(mine), AsList(value));
      if (mine.empty()) return std::nullopt;
      if (mine.size() == 1) mine = Json(mine[0]);
    } else if (key == "required" && mine.is_array() && value.is_array()) {
      for (const Json& name : value)
        if (!Has(mine, name)) mine.push_back(name);
    } else if (key == "properties") {
      TANDEM_RETURN_IF_ERROR(MergeProperties(mine, value));
    } else if (key == "enum" && mine.is_array() && value.is_array()) {
      mine = CommonValues(mine, value);
      if (mine.empty()) return std::nullopt;
    } else if (key == "const") {
      return std::nullopt;
    } else if (numbers && (key.starts_with("min") || key == "exclusiveMinimum")) {
      mine = std::max(mine, value);
    } else if (numbers && (key.starts_with("max") || key == "exclusiveMaximum")) {
      mine = std::min(mine, value);
    } else if (key == "items" || key == "additionalProperties") {
      if (mine == false || value == true) continue;
      mine = value == false || mine == true ? value : AllOf(mine, value);
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", key, "' is in two schemas that must both hold; they cannot be combined"));
    }
  }
  return both;
}

}  // namespace tandem
