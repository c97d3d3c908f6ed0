// SchemaWriter: arrays and objects.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/constrain/code_points.h"
#include "engine/constrain/json_grammar.h"
#include "engine/constrain/schema_writer.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

std::string Repeat(const std::string& what, int32_t least, std::optional<int32_t> most) {
  if (most && *most == 0) return "";
  if (least == 0 && !most) return absl::StrCat(" (", what, ")*");
  return absl::StrCat(" (", what, "){", least, ",", most ? absl::StrCat(*most) : "", "}");
}

std::optional<int32_t> OneLess(std::optional<int32_t> count) {
  return count ? std::optional(*count - 1) : std::nullopt;
}

// Keys that are spelled without escapes and are none of `names`: a trie of those names.
struct KeyTrie {
  bool ends = false;
  std::map<char32_t, KeyTrie> next;
};

std::u32string CodePointsOf(const std::string& text) {
  std::u32string points;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    char32_t point = more == 0 ? lead : lead & (0x3f >> more);
    for (int k = 0; k < more && i < text.size(); ++k) point = point << 6 | (text[i++] & 0x3f);
    points += point;
  }
  return points;
}

const CodePoints& Plain() {
  static const CodePoints set{{' ', '!'}, {'#', '['}, {']', 0xd7ff}, {0xe000, 0x10ffff}};
  return set;
}

std::string KeyRest(const KeyTrie& trie) {
  CodePoints others = Plain();
  std::string text = trie.ends ? "" : "\"\\\"\" | ";
  for (const auto& [c, next] : trie.next) {
    absl::StrAppend(&text, CodePoints{{c, c}}.JsonAlternatives()[0], " (", KeyRest(next), ") | ");
    others = others.Intersected(CodePoints{{c, c}}.Inverse());
  }
  return absl::StrCat(text, others.JsonAlternatives()[0], " json_plain_rest");
}

}  // namespace

// ---- Arrays.

SchemaWriter::Result SchemaWriter::Array(const Json& schema) {
  if (schema.contains("uniqueItems") && schema["uniqueItems"] != false)
    return Error("'uniqueItems' is not supported");
  TANDEM_ASSIGN_OR_RETURN(const int32_t least, Count(schema, "minItems", 0));
  TANDEM_ASSIGN_OR_RETURN(const std::optional<int32_t> most, MostCount(schema, "maxItems"));
  if (most && *most < least) return Error("'maxItems' is less than 'minItems'");
  Json items = schema.contains("items") ? schema["items"] : Json(true);
  if (schema.contains("prefixItems")) return Tuple(schema["prefixItems"], items, least, most);
  if (items.is_array()) {  // the older way to write it
    const Json others = schema.contains("additionalItems") ? schema["additionalItems"] : Json(true);
    return Tuple(items, others, least, most);
  }
  if (items == false || (most && *most == 0)) {
    if (least > 0) return Error("items must come, but none is allowed");
    return Expression{"(\"[\" json_ws \"]\")", {}};
  }
  const std::vector<std::string> open = std::exchange(open_, {});
  TANDEM_ASSIGN_OR_RETURN(Expression item, ValueAt(items, "items"));
  open_ = open;
  const std::string more =
      Repeat(absl::StrCat("\",\" json_ws ", item.text), std::max(least - 1, 0), OneLess(most));
  const std::string all = absl::StrCat(item.text, more, " json_ws");
  if (least > 0)
    return Expression{NewRule(absl::StrCat("\"[\" json_ws ", all, " \"]\"")), item.ending};
  return Expression{NewRule(absl::StrCat("\"[\" json_ws (", all, ")? \"]\"")), {}};
}

SchemaWriter::Result SchemaWriter::Tuple(const Json& first, const Json& others, int32_t least,
                                         std::optional<int32_t> most) {
  if (!first.is_array() || first.empty()) return Error("'prefixItems' is not a list of schemas");
  const auto n = static_cast<int32_t>(first.size());
  const std::vector<std::string> open = std::exchange(open_, {});
  Ending ending{Ending::kAll, 0, {}};
  std::string tail = "\"\"";
  if (others != false && (!most || *most > n)) {
    TANDEM_ASSIGN_OR_RETURN(Expression item, ValueAt(others, "items"));
    std::optional<int32_t> left = most;
    if (left) *left -= n;
    tail = NewRule(Repeat(absl::StrCat("\",\" json_ws ", item.text), std::max(least - n, 0), left));
    if (least > n) ending.parts.push_back(item.ending);
  } else if (least > n) {
    return Error("more items must come than are allowed");
  }
  for (int32_t i = std::min(n, most.value_or(n)); i-- > 0;) {
    TANDEM_ASSIGN_OR_RETURN(Expression item, ValueAt(first[i], absl::StrCat("prefixItems/", i)));
    const std::string comma = i == 0 ? "" : "\",\" json_ws ";
    const std::string with = absl::StrCat(comma, item.text, " ", tail);
    tail = NewRule(i < least ? with : absl::StrCat("\"\" | ", with));
    if (i < least) ending.parts.push_back(item.ending);
  }
  open_ = open;
  return Expression{NewRule(absl::StrCat("\"[\" json_ws ", tail, " json_ws \"]\"")), ending};
}

// ---- Objects.

SchemaWriter::Result SchemaWriter::ObjectType(const Json& schema) {
  const bool named = schema.contains("properties") && !schema["properties"].empty();
  Json additional =
      schema.contains("additionalProperties") ? schema["additionalProperties"] : Json(!named);
  if (schema.contains("unevaluatedProperties") && !schema.contains("additionalProperties"))
    additional = false;
  if (schema.contains("patternProperties") && !schema.contains("additionalProperties"))
    additional = false;
  const std::vector<std::string> open = std::exchange(open_, {});
  TANDEM_ASSIGN_OR_RETURN(std::vector<Member> members, Members(schema, additional));
  std::optional<Expression> more;
  if (additional != false || schema.contains("patternProperties")) {
    TANDEM_ASSIGN_OR_RETURN(more, MoreMembers(schema, additional));
  }
  open_ = open;
  return Assemble(schema, std::move(members), std::move(more));
}

absl::StatusOr<std::vector<SchemaWriter::Member>> SchemaWriter::Members(const Json& schema,
                                                                        const Json& additional) {
  std::vector<std::string> required;
  if (schema.contains("required")) {
    if (!schema["required"].is_array()) return Error("'required' is not a list of names");
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) return Error("'required' is not a list of names");
      required.push_back(name.get<std::string>());
    }
  }
  const auto is_required = [&](const std::string& name) {
    return std::ranges::find(required, name) != required.end();
  };
  std::vector<Member> members;
  std::vector<std::string> names;
  if (schema.contains("properties")) {
    if (!schema["properties"].is_object()) return Error("'properties' is not an object");
    for (const auto& [name, property] : schema["properties"].items()) {
      names.push_back(name);
      if (property == false && !is_required(name)) continue;  // must not be there
      TANDEM_ASSIGN_OR_RETURN(Member member, NamedMember(name, property, is_required(name)));
      members.push_back(std::move(member));
    }
  }
  for (const std::string& name : required) {
    if (std::ranges::find(names, name) != names.end()) continue;
    if (additional == false)
      return Error(absl::StrCat("'required' names a property that is not allowed: ",
                                Json(name).dump().substr(0, 100)));
    if (schema.contains("patternProperties"))
      return Error("'required' beside 'patternProperties' is not supported");
    names.push_back(name);
    TANDEM_ASSIGN_OR_RETURN(Member member, NamedMember(name, additional, true));
    members.push_back(std::move(member));
  }
  return members;
}

absl::StatusOr<SchemaWriter::Member> SchemaWriter::NamedMember(const std::string& name,
                                                               const Json& schema, bool required) {
  TANDEM_ASSIGN_OR_RETURN(Expression value, ValueAt(schema, absl::StrCat("properties/", name)));
  TANDEM_ASSIGN_OR_RETURN(const std::string key, Literal(Json(name)));
  return Member{absl::StrCat(key, " \":\" json_ws ", value.text), std::move(value.ending),
                required};
}

// A member that the schema does not name.
SchemaWriter::Result SchemaWriter::MoreMembers(const Json& schema, const Json& additional) {
  if (!schema.contains("patternProperties")) {
    TANDEM_ASSIGN_OR_RETURN(const std::string key, OtherKeys(schema));
    TANDEM_ASSIGN_OR_RETURN(Expression value, ValueAt(additional, "additionalProperties"));
    return Expression{NewRule(absl::StrCat(key, " \":\" json_ws ", value.text)), {}};
  }
  const Json& patterns = schema["patternProperties"];
  if (!patterns.is_object() || patterns.size() != 1 || additional != false ||
      (schema.contains("properties") && !schema["properties"].empty()))
    return Error("'patternProperties' is supported with one pattern, and without other properties");
  const auto it = patterns.begin();
  TANDEM_ASSIGN_OR_RETURN(const std::string key, Pattern(it.key(), 0, std::nullopt));
  TANDEM_ASSIGN_OR_RETURN(Expression value, ValueAt(it.value(), "patternProperties"));
  return Expression{NewRule(absl::StrCat("\"\\\"\" ", key, " \":\" json_ws ", value.text)), {}};
}

absl::StatusOr<std::string> SchemaWriter::OtherKeys(const Json& schema) {
  KeyTrie names;
  const auto add = [&](const std::string& name) {
    KeyTrie* at = &names;
    for (const char32_t c : CodePointsOf(name)) {
      if (!Plain().Contains(c)) return;  // never spelled without an escape
      at = &at->next[c];
    }
    at->ends = true;
  };
  if (schema.contains("properties"))
    for (const auto& [name, property] : schema["properties"].items()) {
      if (name.size() > 256) return Error("a property's name has more than 256 bytes");
      add(name);
    }
  if (schema.contains("required"))
    for (const Json& name : schema["required"]) add(name.get<std::string>());
  if (same_rules_.try_emplace("json_plain_rest", "json_plain_rest").second)
    rules_ +=
        "json_plain_rest ::= (\"\\\"\" | [ !#-\\[\\]-\\ud7ff\\ue000-\\U0010ffff] json_plain_rest) "
        "(=[ \\n\\r\\t]* [,:}\\]])\n";
  return NewRule(absl::StrCat("\"\\\"\" (", KeyRest(names), ")"));
}

// { members in their order, those not required left out at will, then the others }
SchemaWriter::Result SchemaWriter::Assemble(const Json& schema, std::vector<Member> members,
                                            std::optional<Expression> more) {
  TANDEM_ASSIGN_OR_RETURN(const int32_t least, Count(schema, "minProperties", 0));
  TANDEM_ASSIGN_OR_RETURN(const std::optional<int32_t> most, MostCount(schema, "maxProperties"));
  const auto n_required = std::ranges::count_if(members, &Member::required);
  const auto n = static_cast<int32_t>(members.size());
  if (most && n_required > *most) return Error("'maxProperties' is less than what is required");
  if (most && n > 0 && (n > *most || more))
    return Error("'maxProperties' is supported only where no property is named");
  if (least > std::max<int64_t>(n_required, 1))
    return Error("'minProperties' is supported up to 1, or up to the number of required ones");
  if (most && *most == 0) more.reset();

  Ending ending{Ending::kAll, 0, {}};
  const std::string others =
      !more ? "\"\""
            : NewRule(Repeat(absl::StrCat("\",\" json_ws ", more->text), 0, OneLess(most)));
  // From behind: what may come once some member is there (rest), and what may come first.
  std::string rest = others, first;
  if (more) first = absl::StrCat(more->text, " ", others);
  for (int32_t i = n; i-- > 0;) {
    const Member& member = members[i];
    const std::string as_first = absl::StrCat(member.text, " ", rest);
    first = member.required || first.empty() ? as_first : absl::StrCat(as_first, " | ", first);
    const std::string as_next = absl::StrCat("\",\" json_ws ", as_first);
    rest = NewRule(member.required ? as_next : absl::StrCat(as_next, " | ", rest));
    if (member.required) ending.parts.push_back(member.ending);
  }
  const bool may_be_empty = n_required == 0 && least == 0;
  if (first.empty()) {
    if (!may_be_empty) return Error("properties must come, but none is allowed");
    return Expression{"(\"{\" json_ws \"}\")", {}};
  }
  const std::string body = absl::StrCat("(", first, ") json_ws");
  return Expression{
      NewRule(absl::StrCat("\"{\" json_ws ", may_be_empty ? absl::StrCat("(", body, ")?") : body,
                           " \"}\"")),
      ending};
}

}  // namespace tandem
