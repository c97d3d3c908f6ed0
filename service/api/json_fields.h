// One object of a request, read field by field. Every field has to be asked for, ignored or refused
// by name; what is left over in the end is an error, so that nothing a client asks for is dropped
// silently. Null counts as absent.
//
//   JsonFields fields(body, "thinking");
//   const std::string type = fields.Text("type");
//   const auto budget = fields.OptionalInt("budget_tokens", 1, kMax);
//   TANDEM_RETURN_IF_ERROR(fields.Done());
//
// The first error is kept and told by Done(); until then a faulty field reads as if it were empty.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "core/status.h"

namespace tandem {

class JsonFields {
 public:
  using Json = nlohmann::ordered_json;

  // `where` names the object in errors; "" for a whole request. `object` must outlive this.
  JsonFields(const Json& object, std::string where);

  const Json* Optional(const char* key);  // null if absent
  const Json& Required(const char* key);  // null JSON if absent

  std::string Text(const char* key);  // required
  std::optional<std::string> OptionalText(const char* key);
  std::optional<int64_t> OptionalInt(const char* key, int64_t min, int64_t max);
  std::optional<double> OptionalNumber(const char* key, double min, double max);
  bool Bool(const char* key, bool absent);
  const Json* OptionalList(const char* key, int64_t max_entries);
  const Json* OptionalObject(const char* key);
  // One of `values`; the first if absent.
  std::string OneOf(const char* key, std::initializer_list<const char*> values);

  // Any value is accepted and has no effect.
  void Ignore(std::initializer_list<const char*> keys);
  // All that was not asked for has no effect.
  void IgnoreRest() { ignores_rest_ = true; }
  // Only absent (or false, 0, or an empty list or object) is accepted; `why` ends the sentence.
  void Refuse(const char* key, const char* why);

  std::string Where(std::string_view key) const;  // "thinking.type"
  // Keeps the error unless there is one already: "WHERE.KEY is VALUE; expected EXPECTED".
  void Fail(std::string_view key, std::string_view expected);
  void Keep(const absl::Status& error);
  absl::Status Done();  // INVALID_ARGUMENT

 private:
  const Json* Find(const char* key);

  const Json& object_;
  const std::string where_;
  std::set<std::string, std::less<>> known_;
  bool ignores_rest_ = false;
  absl::Status error_;
};

}  // namespace tandem
