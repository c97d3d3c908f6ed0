#include "placement/json_fields.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tandem {
namespace {

constexpr size_t kShownChars = 60;

std::string Shown(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kShownChars) text = text.substr(0, kShownChars) + "...";
  return text;
}

}  // namespace

JsonReader::JsonReader(const nlohmann::json& object, std::string where, absl::Status& status)
    : object_(object), where_(std::move(where)), status_(status) {
  if (!object_.is_object())
    status_.Update(absl::InvalidArgumentError(
        absl::StrCat(where_, ": expected an object, found ", Shown(object_))));
}

std::string JsonReader::Path(const std::string& key) const {
  // "file.json" -> "file.json: gpu" -> "file.json: gpu.name"
  return absl::StrCat(where_, where_.find(": ") == std::string::npos ? ": " : ".", key);
}

void JsonReader::Fail(const std::string& key, const std::string& expected,
                      const std::string& found) {
  status_.Update(absl::InvalidArgumentError(
      absl::StrCat(Path(key), ": expected ", expected, ", found ", found)));
}

void JsonReader::FailOn(const std::string& key, const std::string& expected,
                        const nlohmann::json& found) {
  Fail(key, expected, Shown(found));
}

const nlohmann::json* JsonReader::Find(const std::string& key) {
  known_.insert(key);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

void JsonReader::Number(const std::string& key, double& value, double least, double most) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  const double number = found->is_number() ? found->get<double>() : 0;
  if (!found->is_number() || !(number >= least && number <= most))
    return FailOn(key, absl::StrCat("a number from ", least, " to ", most), *found);
  value = number;
}

void JsonReader::Whole(const std::string& key, int64_t& value, int64_t least, int64_t most) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  const bool fits = found->is_number_integer() &&
                    !(found->is_number_unsigned() && found->get<uint64_t>() > INT64_MAX);
  if (!fits || found->get<int64_t>() < least || found->get<int64_t>() > most)
    return FailOn(key, absl::StrCat("a whole number from ", least, " to ", most), *found);
  value = found->get<int64_t>();
}

void JsonReader::Whole(const std::string& key, int32_t& value, int64_t least, int64_t most) {
  int64_t wide = value;
  Whole(key, wide, least, most);
  value = static_cast<int32_t>(wide);
}

void JsonReader::Text(const std::string& key, std::string& value) {
  const nlohmann::json* found = Find(key);
  if (found == nullptr) return;
  if (!found->is_string()) return FailOn(key, "a string", *found);
  value = found->get<std::string>();
}

void JsonReader::End() {
  if (!object_.is_object()) return;
  for (const auto& [key, value] : object_.items())
    if (!known_.contains(key))
      FailOn(key, absl::StrCat("no such key; known are ", absl::StrJoin(known_, ", ")), value);
}

absl::StatusOr<nlohmann::json> ParseJsonObject(const std::string& text, const std::string& path) {
  try {
    nlohmann::json json = nlohmann::json::parse(text);
    if (json.is_object()) return json;
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a JSON object, found ", Shown(json)));
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": not JSON at byte ", error.byte, " of ", text.size()));
  } catch (const nlohmann::json::out_of_range&) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected numbers below 1e308, found a larger one"));
  }
}

}  // namespace tandem
