// The walk over one schema that SchemaGrammar() is made of. Each method returns an expression of
// the grammar; containers and references become rules of their own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/constrain/number_grammar.h"
#include "engine/constrain/schema_grammar.h"

namespace tandem {

class SchemaWriter {
 public:
  using Json = nlohmann::ordered_json;

  SchemaWriter(const Json& root, const std::string& what, SchemaBudget& budget)
      : root_(root), what_(what), budget_(budget) {}

  absl::StatusOr<std::string> Write(SchemaRoot root);

 private:
  // When a value comes to an end: always, or only if all (any) of some rules' values do.
  struct Ending {
    enum Kind { kAlways, kRule, kAll, kAny } kind = kAlways;
    int32_t rule = 0;
    std::vector<Ending> parts;
  };
  struct Expression {
    std::string text;
    Ending ending;
  };
  using Result = absl::StatusOr<Expression>;

  // ---- schema_writer.cpp: what a schema is made of.
  Result Value(const Json& schema);
  Result Object(const Json& schema);
  Result Keywords(const Json& schema);
  Result Reference(const Json& schema);
  Result Union(const Json& schema, const char* keyword);
  absl::StatusOr<Json> Together(const Json& schema);  // allOf, as one schema
  absl::StatusOr<Json> Resolved(const Json& schema);  // without "$ref" at its top
  absl::StatusOr<const Json*> Target(const Json& schema);
  absl::Status CheckDisjoint(const std::vector<Json>& options);
  absl::Status CheckEndings() const;

  // ---- schema_types.cpp: one type.
  Result Typed(const Json& schema, const std::string& type);
  Result Literals(const Json& schema);
  Result Number(const Json& schema, bool integer);
  Result String(const Json& schema);
  absl::StatusOr<std::string> Pattern(const std::string& pattern, int32_t min_length,
                                      std::optional<int32_t> max_length);
  std::string Lengths(int32_t min_length, std::optional<int32_t> max_length);

  // ---- schema_containers.cpp.
  Result Array(const Json& schema);
  Result Tuple(const Json& first, const Json& others, int32_t least, std::optional<int32_t> most);
  Result ObjectType(const Json& schema);
  struct Member {
    std::string text;  // "key": value
    Ending ending;
    bool required;
  };
  absl::StatusOr<std::vector<Member>> Members(const Json& schema, const Json& additional);
  absl::StatusOr<Member> NamedMember(const std::string& name, const Json& schema, bool required);
  Result MoreMembers(const Json& schema, const Json& additional);
  absl::StatusOr<std::string> OtherKeys(const Json& schema);
  Result Assemble(const Json& schema, std::vector<Member> members, std::optional<Expression> more);

  // ---- Helpers.
  absl::Status Error(const std::string& message) const;
  absl::Status Spend(int32_t& used, int64_t amount, int64_t limit, const char* of_what) const;
  absl::StatusOr<int32_t> Count(const Json& schema, const char* key, int32_t missing) const;
  absl::StatusOr<std::optional<int32_t>> MostCount(const Json& schema, const char* key) const;
  absl::StatusOr<std::string> Literal(const Json& value);
  std::string NewRule(const std::string& body);
  std::string NewName() { return "r" + std::to_string(next_rule_++); }
  // The value at KEY, written as a place of its own.
  Result ValueAt(const Json& schema, const std::string& key);

  const Json& root_;
  const std::string& what_;
  SchemaBudget& budget_;
  std::string rules_, path_ = "#";
  int32_t next_rule_ = 0, depth_ = 0;
  struct Referred {
    std::string rule;
    std::optional<Ending> ending;  // none yet: being written
  };
  std::map<std::string, Referred> referred_;       // by reference
  std::vector<std::string> rule_of_ending_;        // by Ending::rule
  std::vector<std::string> open_;                  // references that nothing was consumed since
  std::map<std::string, std::string> same_rules_;  // body -> rule: lengths come again and again
};

}  // namespace tandem
