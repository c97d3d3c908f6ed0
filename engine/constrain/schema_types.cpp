// SchemaWriter: literals, numbers, strings.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/constrain/json_grammar.h"
#include "engine/constrain/pattern_grammar.h"
#include "engine/constrain/schema_writer.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// A character of a JSON string; an escape counts as one.
constexpr char kCharacter[] = "([ !#-\\[\\]-\\ud7ff\\ue000-\\U0010ffff] | \"\\\\\" json_escape)";
constexpr int32_t kMinLengthCost = 15;  // of a character that must come, measured
constexpr int64_t kMostMultiples = 1000;

// Of "format", those that are worth holding; the others are annotations.
const std::map<std::string, const char*, std::less<>> kFormats = {
    {"date", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"},
    {"time",
     "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]"
     ")$"},
    {"date-time",
     "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
     "(\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"ipv4",
     "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?"
     "[0-9])$"},
    {"email",
     "^[A-Za-z0-9_+-]{1,24}(\\.[A-Za-z0-9_+-]{1,12})?@([A-Za-z0-9]{1,20}\\.){1,2}[A-Za-z]{2,8}$"},
};

bool IsOfType(const Json& value, const Json& type) {
  if (type == "integer") return value.is_number_integer();
  return type == value.type_name();
}

size_t CodePointsIn(const std::string& text) {
  size_t n = 0;
  for (const unsigned char c : text) n += (c & 0xc0) != 0x80;
  return n;
}

// Whether a listed value satisfies what stands beside the list; nothing: that is not known.
std::optional<bool> Satisfies(const Json& value, const std::string& key, const Json& bound) {
  if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" ||
      key == "exclusiveMaximum") {
    if (!value.is_number()) return true;
    const double x = value.get<double>(), b = bound.is_number() ? bound.get<double>() : NAN;
    return key == "minimum"            ? x >= b
           : key == "maximum"          ? x <= b
           : key == "exclusiveMinimum" ? x > b
                                       : x < b;
  }
  if (key == "minLength" || key == "maxLength") {
    if (!value.is_string()) return true;
    const auto n = static_cast<double>(CodePointsIn(value.get<std::string>()));
    const double b = bound.is_number() ? bound.get<double>() : NAN;
    return key == "minLength" ? n >= b : n <= b;
  }
  if (key == "pattern" || key == "multipleOf" || value.is_structured()) return std::nullopt;
  return true;  // about arrays and objects, or nothing known
}

}  // namespace

SchemaWriter::Result SchemaWriter::Typed(const Json& schema, const std::string& type) {
  if (type == "null") return Expression{"\"null\"", {}};
  if (type == "boolean") return Expression{"(\"true\" | \"false\")", {}};
  if (type == "integer") return Number(schema, true);
  if (type == "number") return Number(schema, false);
  if (type == "string") return String(schema);
  if (type == "array") return Array(schema);
  if (type == "object") return ObjectType(schema);
  return Error("'type' is not one of null, boolean, integer, number, string, array, object");
}

absl::StatusOr<std::string> SchemaWriter::Literal(const Json& value) {
  const std::string text = value.dump();
  TANDEM_RETURN_IF_ERROR(Spend(budget_.literal_bytes, static_cast<int64_t>(text.size()),
                               kMaxLiteralBytes, "bytes of constants and property names"));
  return GrammarLiteral(text);
}

// "const" and "enum": the values that everything else allows, too.
SchemaWriter::Result SchemaWriter::Literals(const Json& schema) {
  Json values = schema.contains("const") ? Json::array({schema["const"]}) : schema["enum"];
  if (!values.is_array() || values.empty()) return Error("'enum' is not a list of values");
  TANDEM_RETURN_IF_ERROR(Spend(budget_.enum_values, static_cast<int64_t>(values.size()),
                               budget_.limits.max_enum_values, "values of enums"));
  std::string text;
  for (const Json& value : values) {
    bool fits = true;
    for (const auto& [key, bound] : schema.items()) {
      if (key == "const") {
        fits &= value == bound;
      } else if (key == "enum") {
        fits &= bound.is_array() && std::find(bound.begin(), bound.end(), value) != bound.end();
      } else if (key == "type") {
        const auto is = [&](const Json& type) { return IsOfType(value, type); };
        fits &= bound.is_array() ? std::any_of(bound.begin(), bound.end(), is) : is(bound);
      } else if (const auto satisfied = Satisfies(value, key, bound)) {
        fits &= *satisfied;
      } else if (key == "pattern" || key == "multipleOf" || key == "properties" || key == "items") {
        return Error(absl::StrCat("'", key, "' beside 'enum' or 'const' is not supported"));
      }
    }
    if (!fits) continue;
    TANDEM_ASSIGN_OR_RETURN(const std::string literal, Literal(value));
    absl::StrAppend(&text, text.empty() ? "" : " | ", literal);
  }
  if (text.empty()) return Error("no value of 'enum' or 'const' fits what stands beside it");
  return Expression{absl::StrCat("(", text, ")"), {}};
}

SchemaWriter::Result SchemaWriter::Number(const Json& schema, bool integer) {
  NumberBounds bounds;
  const auto bound = [&](const char* key, bool low, bool open) -> absl::Status {
    if (!schema.contains(key)) return absl::OkStatus();
    if (!schema[key].is_number() || !std::isfinite(schema[key].get<double>()))
      return Error(absl::StrCat("'", key, "' is not a number"));
    const auto x = schema[key].get<double>();
    std::optional<double>& mine = low ? bounds.low : bounds.high;
    bool& mine_open = low ? bounds.low_open : bounds.high_open;
    if (!mine || (low ? x > *mine : x < *mine)) {
      mine = x;
      mine_open = open;
    } else if (x == *mine) {
      mine_open |= open;
    }
    return absl::OkStatus();
  };
  TANDEM_RETURN_IF_ERROR(bound("minimum", true, false));
  TANDEM_RETURN_IF_ERROR(bound("exclusiveMinimum", true, true));
  TANDEM_RETURN_IF_ERROR(bound("maximum", false, false));
  TANDEM_RETURN_IF_ERROR(bound("exclusiveMaximum", false, true));
  if (schema.contains("multipleOf") && !(integer && schema["multipleOf"] == 1)) {
    if (!integer || !schema["multipleOf"].is_number_integer() || !bounds.low || !bounds.high)
      return Error("'multipleOf' is supported for integers between 'minimum' and 'maximum' only");
    const double step = schema["multipleOf"].get<double>();
    if (!(step >= 1) || *bounds.low < -1e15 || *bounds.high > 1e15 ||
        (*bounds.high - *bounds.low) / step > kMostMultiples)
      return Error(
          absl::StrCat("'multipleOf' leaves more than ", kMostMultiples, " values, or none"));
    std::string text;
    for (double k = std::ceil(*bounds.low / step); k * step <= *bounds.high; ++k) {
      const double x = k * step;
      if ((bounds.low_open && x <= *bounds.low) || (bounds.high_open && x >= *bounds.high))
        continue;
      absl::StrAppend(&text, text.empty() ? "\"" : " | \"", static_cast<int64_t>(x), "\"");
    }
    if (text.empty()) return Error("'multipleOf' leaves no value");
    return Expression{absl::StrCat("(", text, ")"), {}};
  }
  const std::string text = integer ? IntegerGrammar(bounds) : NumberGrammar(bounds);
  if (text.empty()) return Error("no number of up to 15 digits lies between the bounds");
  return Expression{text, {}};
}

SchemaWriter::Result SchemaWriter::String(const Json& schema) {
  TANDEM_ASSIGN_OR_RETURN(const int32_t least, Count(schema, "minLength", 0));
  TANDEM_ASSIGN_OR_RETURN(const std::optional<int32_t> most, MostCount(schema, "maxLength"));
  if (most && *most < least) return Error("'maxLength' is less than 'minLength'");
  std::string pattern;
  if (schema.contains("pattern")) {
    if (!schema["pattern"].is_string()) return Error("'pattern' is not a string");
    pattern = schema["pattern"].get<std::string>();
  } else if (schema.contains("format") && schema["format"].is_string()) {
    const auto it = kFormats.find(schema["format"].get<std::string>());
    if (it != kFormats.end()) pattern = it->second;
  }
  if (schema.contains("pattern") || !pattern.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const std::string rule, Pattern(pattern, least, most));
    return Expression{absl::StrCat("(\"\\\"\" ", rule, ")"), {}};
  }
  if (least == 0 && !most) return Expression{"json_string", {}};
  TANDEM_RETURN_IF_ERROR(Spend(budget_.state_cost, int64_t{least} * kMinLengthCost, kMaxStateCost,
                               "states of patterns and lengths"));
  return Expression{Lengths(least, most), {}};
}

absl::StatusOr<std::string> SchemaWriter::Pattern(const std::string& pattern, int32_t min_length,
                                                  std::optional<int32_t> max_length) {
  const std::string key =
      absl::StrCat(pattern, "\n", min_length, "\n", max_length ? *max_length : -1);
  if (const auto it = same_rules_.find(key); it != same_rules_.end()) return it->second;
  const auto nfa =
      ParsePattern(pattern, {budget_.limits.max_pattern_bytes, budget_.limits.max_repeat});
  if (!nfa.ok()) return Error(std::string(nfa.status().message()));
  const auto grammar =
      GrammarOfPattern(*nfa, min_length, max_length, NewName(), kMaxStateCost - budget_.state_cost);
  if (!grammar.ok()) return Error(std::string(grammar.status().message()));
  budget_.state_cost += grammar->cost;
  rules_ += grammar->rules;
  return same_rules_[key] = grammar->start;
}

// XGrammar counts the characters of a rule with max_chars; one escape counts as several there, so
// that a text may be cut short but never too long. The least number is written out.
std::string SchemaWriter::Lengths(int32_t least, std::optional<int32_t> most) {
  std::string& rule = same_rules_[absl::StrCat("length ", least, " ", most ? *most : -1)];
  if (!rule.empty()) return rule;
  if (most && *most == 0) return rule = NewRule("\"\\\"\\\"\"");
  const std::string rest = NewName();
  std::string tail = "json_chars";
  std::string unit = NewRule(kCharacter);
  if (most) {
    // The counted rule is entered behind the characters that must come.
    tail = absl::StrCat(rest, " \"\\\"\"");
    const std::string more = NewName();
    absl::StrAppend(&rules_, more, " ::= \"\" | ", unit, " ", more, "\n");
    if (*most > least) {
      absl::StrAppend(&rules_, rest, "[max_chars=", *most - least, "] ::= \"\" | ", unit, " ", more,
                      "\n");
    } else {
      absl::StrAppend(&rules_, rest, " ::= \"\"\n");
    }
  }
  std::string head;
  for (int32_t i = 0; i < least; ++i) absl::StrAppend(&head, unit, " ");
  return rule = NewRule(absl::StrCat("\"\\\"\" ", head, tail));
}

absl::StatusOr<int32_t> SchemaWriter::Count(const Json& schema, const char* key,
                                            int32_t missing) const {
  if (!schema.contains(key)) return missing;
  const Json& value = schema[key];
  if (!value.is_number() || !(value.get<double>() >= 0) ||
      value.get<double>() != std::floor(value.get<double>()))
    return Error(absl::StrCat("'", key, "' is not a number of things"));
  if (value.get<double>() > budget_.limits.max_repeat)
    return Error(absl::StrCat("'", key, "' is more than ", budget_.limits.max_repeat));
  return static_cast<int32_t>(value.get<double>());
}

absl::StatusOr<std::optional<int32_t>> SchemaWriter::MostCount(const Json& schema,
                                                               const char* key) const {
  if (!schema.contains(key)) return std::nullopt;
  TANDEM_ASSIGN_OR_RETURN(const int32_t count, Count(schema, key, 0));
  return count;
}

}  // namespace tandem
