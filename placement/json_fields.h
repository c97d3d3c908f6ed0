// Reading and writing the JSON files of this folder by one list of fields: a function
// Fields(visitor, thing) names each field once, JsonReader fills it in, JsonWriter puts it down.
//
// Reading is strict: an unknown key, a wrong type and a number out of its range are errors of the
// form "FILE: nodes[1].cores: expected a whole number from 1 to 4096, found -3". A field that is
// missing keeps the value it has; one that is zero or empty is not written.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"

namespace tandem {

class JsonReader {
 public:
  static constexpr bool kReads = true;
  // `where` names the file and the object in it. The first error goes to `status`; both must
  // outlive the reader.
  JsonReader(const nlohmann::json& object, std::string where, absl::Status& status);

  void Number(const std::string& key, double& value, double least, double most);
  void Whole(const std::string& key, int64_t& value, int64_t least, int64_t most);
  void Whole(const std::string& key, int32_t& value, int64_t least, int64_t most);
  void Text(const std::string& key, std::string& value);
  // fields(reader, value) for an object inside; false if there is none.
  template <class T, class Fields>
  bool Object(const std::string& key, T& value, Fields&& fields) {
    const nlohmann::json* found = Find(key);
    if (found == nullptr) return false;
    JsonReader reader(*found, Path(key), status_);
    fields(reader, value);
    reader.End();
    return true;
  }
  template <class T, class Fields>
  void Objects(const std::string& key, std::vector<T>& values, Fields&& fields) {
    const nlohmann::json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_array()) return FailOn(key, "an array of objects", *found);
    values.clear();
    for (size_t i = 0; i < found->size(); ++i) {
      JsonReader reader((*found)[i], Path(key) + "[" + std::to_string(i) + "]", status_);
      fields(reader, values.emplace_back());
      reader.End();
    }
  }
  // All fields have been asked for: what is left is not known.
  void End();
  bool Has(const std::string& key) const { return object_.is_object() && object_.contains(key); }
  // For what a field's type does not say.
  void Fail(const std::string& key, const std::string& expected, const std::string& found);

 private:
  const nlohmann::json* Find(const std::string& key);
  std::string Path(const std::string& key) const;
  void FailOn(const std::string& key, const std::string& expected, const nlohmann::json& found);

  const nlohmann::json& object_;
  std::string where_;
  absl::Status& status_;
  std::set<std::string> known_;
};

class JsonWriter {
 public:
  static constexpr bool kReads = false;
  void Number(const std::string& key, const double& value, double, double) {
    if (value != 0) json_[key] = value;
  }
  void Whole(const std::string& key, int64_t value, int64_t, int64_t) {
    if (value != 0) json_[key] = value;
  }
  void Text(const std::string& key, const std::string& value) {
    if (!value.empty()) json_[key] = value;
  }
  template <class T, class Fields>
  bool Object(const std::string& key, T& value, Fields&& fields) {
    JsonWriter writer;
    fields(writer, value);
    if (!writer.json_.empty()) json_[key] = std::move(writer.json_);
    return true;
  }
  template <class T, class Fields>
  void Objects(const std::string& key, std::vector<T>& values, Fields&& fields) {
    for (T& value : values) {
      JsonWriter writer;
      fields(writer, value);
      json_[key].push_back(std::move(writer.json_));
    }
  }
  void Fail(const std::string&, const std::string&, const std::string&) {}
  bool Has(const std::string&) const { return true; }

  std::string ToText() const { return json_.dump(2) + "\n"; }

 private:
  nlohmann::ordered_json json_ = nlohmann::ordered_json::object();
};

// The text as a JSON object. Errors: INVALID_ARGUMENT with the file and where the text is wrong.
absl::StatusOr<nlohmann::json> ParseJsonObject(const std::string& text, const std::string& path);

// Bytes as a field in GiB.
template <class Visitor>
void GibField(Visitor& v, const std::string& key, int64_t& bytes, double most_gib) {
  constexpr double kGib = 1073741824.0;
  double gib = static_cast<double>(bytes) / kGib;
  v.Number(key, gib, 0, most_gib);
  if constexpr (Visitor::kReads) bytes = static_cast<int64_t>(gib * kGib + 0.5);
}

}  // namespace tandem
