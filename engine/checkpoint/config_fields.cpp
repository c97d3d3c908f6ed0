#include "engine/checkpoint/config_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_file.h"

namespace tandem {

using nlohmann::json;

ConfigFields::ConfigFields(const json& object, std::string file, std::string where)
    : object_(object), file_(std::move(file)), where_(std::move(where)) {
  if (!object_.is_object()) Invalid("expected a JSON object");
}

const json* ConfigFields::Find(const std::string& key) const {
  if (!object_.is_object()) return nullptr;
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool ConfigFields::Has(const std::string& key) const { return Find(key) != nullptr; }

int64_t ConfigFields::Int(const std::string& key, int64_t min, int64_t max) {
  const json* value = Find(key);
  const bool fits = value != nullptr && value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX});
  if (fits && value->get<int64_t>() >= min && value->get<int64_t>() <= max) {
    return value->get<int64_t>();
  }
  Wrong(key, absl::StrCat("an integer in [", min, ", ", max, "]"));
  return min;
}

int64_t ConfigFields::Int(const std::string& key, int64_t min, int64_t max, int64_t fallback) {
  return Has(key) ? Int(key, min, max) : fallback;
}

double ConfigFields::Number(const std::string& key, double min, double max) {
  const json* value = Find(key);
  if (value != nullptr && value->is_number() && value->get<double>() >= min &&
      value->get<double>() <= max) {
    return value->get<double>();
  }
  Wrong(key, absl::StrCat("a number in [", min, ", ", max, "]"));
  return min;
}

double ConfigFields::Number(const std::string& key, double min, double max, double fallback) {
  return Has(key) ? Number(key, min, max) : fallback;
}

bool ConfigFields::Bool(const std::string& key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Wrong(key, "true or false");
  return fallback;
}

std::string ConfigFields::Text(const std::string& key, std::string_view fallback) {
  const json* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (value->is_string()) return value->get<std::string>();
  Wrong(key, "a string");
  return std::string(fallback);
}

std::vector<int32_t> ConfigFields::Ids(const std::string& key) {
  const json* value = Find(key);
  if (value == nullptr) return {};
  const json list = value->is_array() ? *value : json::array({*value});
  std::vector<int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
      Wrong(key, "a token id or a list of token ids");
      return {};
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

const json* ConfigFields::Object(const std::string& key) {
  const json* value = Find(key);
  if (value == nullptr || value->is_object()) return value;
  Wrong(key, "an object");
  return nullptr;
}

void ConfigFields::Unsupported(const std::string& key, const std::string& found,
                               const std::string& supported) {
  Keep(absl::UnimplementedError(absl::StrCat(file_, ": ", where_, key, " = ", Quoted(found),
                                             " is not supported; supported: ", supported)));
}

void ConfigFields::Invalid(const std::string& problem) {
  Keep(absl::InvalidArgumentError(absl::StrCat(
      file_, ": ", where_.empty() ? "" : absl::StrCat(where_.substr(0, where_.size() - 1), ": "),
      problem)));
}

void ConfigFields::Wrong(const std::string& key, const std::string& expected) {
  const json* value = Find(key);
  Keep(absl::InvalidArgumentError(absl::StrCat(
      file_, ": ", where_, key, ": expected ", expected, ", found ",
      value == nullptr ? "nothing"
                       : Quoted(value->dump(-1, ' ', true, json::error_handler_t::replace)))));
}

void ConfigFields::Keep(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

}  // namespace tandem
