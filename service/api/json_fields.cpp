#include "service/api/json_fields.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownBytes = 64;  // of a client's text in an error

std::string Shortened(std::string_view text) {
  return absl::StrCat(absl::Utf8SafeCHexEscape(std::string(text.substr(0, kShownBytes))),
                      text.size() > kShownBytes ? "..." : "");
}

std::string Shown(const Json& value) {
  if (value.is_string())
    return absl::StrCat("\"", Shortened(value.get_ref<const std::string&>()), "\"");
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  return value.is_null() ? "missing" : value.dump();
}

const Json& NullJson() {
  static const Json null;
  return null;
}

}  // namespace

JsonFields::JsonFields(const Json& object, std::string where)
    : object_(object.is_object() ? object : NullJson()), where_(std::move(where)) {
  if (object.is_object()) return;
  error_ = absl::InvalidArgumentError(absl::StrCat(where_.empty() ? "the body" : where_, " is ",
                                                   Shown(object), "; expected an object"));
}

std::string JsonFields::Where(std::string_view key) const {
  return where_.empty() ? std::string(key) : absl::StrCat(where_, ".", std::string(key));
}

void JsonFields::Keep(const absl::Status& error) {
  if (error_.ok()) error_ = error;
}

void JsonFields::Fail(std::string_view key, std::string_view expected) {
  const Json* value = Find(std::string(key).c_str());
  Keep(absl::InvalidArgumentError(absl::StrCat(Where(key), " is ",
                                               Shown(value == nullptr ? NullJson() : *value),
                                               "; expected ", std::string(expected))));
}

const Json* JsonFields::Find(const char* key) {
  known_.insert(key);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json* JsonFields::Optional(const char* key) { return Find(key); }

const Json& JsonFields::Required(const char* key) {
  const Json* value = Find(key);
  if (value != nullptr) return *value;
  Fail(key, "a value");
  return NullJson();
}

std::string JsonFields::Text(const char* key) {
  const Json* value = Find(key);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  Fail(key, "a string");
  return "";
}

std::optional<std::string> JsonFields::OptionalText(const char* key) {
  if (Find(key) == nullptr) return std::nullopt;
  return Text(key);
}

std::optional<int64_t> JsonFields::OptionalInt(const char* key, int64_t min, int64_t max) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  const bool huge = value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX};
  if (value->is_number_integer() && !huge) {
    const int64_t number = value->get<int64_t>();
    if (number >= min && number <= max) return number;
  }
  Fail(key, absl::StrCat("a whole number from ", min, " to ", max));
  return std::nullopt;
}

std::optional<double> JsonFields::OptionalNumber(const char* key, double min, double max) {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= min && number <= max) return number;
  }
  Fail(key, absl::StrCat("a number from ", min, " to ", max));
  return std::nullopt;
}

bool JsonFields::Bool(const char* key, bool absent) {
  const Json* value = Find(key);
  if (value == nullptr) return absent;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, "true or false");
  return absent;
}

const Json* JsonFields::OptionalList(const char* key, int64_t max_entries) {
  const Json* value = Find(key);
  if (value == nullptr) return nullptr;
  if (value->is_array() && value->size() <= static_cast<size_t>(max_entries)) return value;
  if (!value->is_array()) {
    Fail(key, "a list");
  } else {
    Keep(absl::InvalidArgumentError(absl::StrCat(Where(key), " has ", value->size(),
                                                 " entries; expected at most ", max_entries)));
  }
  return nullptr;
}

const Json* JsonFields::OptionalObject(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr || value->is_object()) return value;
  Fail(key, "an object");
  return nullptr;
}

std::string JsonFields::OneOf(const char* key, std::initializer_list<const char*> values) {
  const Json* value = Find(key);
  if (value == nullptr) return *values.begin();
  for (const char* accepted : values) {
    if (*value == accepted) return accepted;
  }
  Fail(key, absl::StrJoin(values, " or ", [](std::string* out, const char* accepted) {
         absl::StrAppend(out, "\"", accepted, "\"");
       }));
  return *values.begin();
}

void JsonFields::Ignore(std::initializer_list<const char*> keys) {
  for (const char* key : keys) known_.insert(key);
}

void JsonFields::Refuse(const char* key, const char* why) {
  const Json* value = Find(key);
  if (value == nullptr || *value == false || *value == 0) return;
  if (value->is_structured() && value->empty()) return;
  Keep(absl::InvalidArgumentError(absl::StrCat(Where(key), " is not supported: ", why)));
}

absl::Status JsonFields::Done() {
  if (!error_.ok() || !object_.is_object() || ignores_rest_) return error_;
  for (const auto& [key, value] : object_.items()) {
    if (known_.contains(key)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(Where(Shortened(key)), " is not a field that this server knows"));
  }
  return absl::OkStatus();
}

}  // namespace tandem
