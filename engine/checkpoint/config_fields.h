// Typed, range-checked access to one object of a configuration file. The first problem sticks: read
// all fields, then ask status() once.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace tandem {

class ConfigFields {
 public:
  // `where` is the path to the object within the file, "" or ending in a dot ("text_config.").
  // `object` must outlive this.
  ConfigFields(const nlohmann::json& object, std::string file, std::string where = "");

  // A field that is absent or null.
  bool Has(const std::string& key) const;
  // Required when `fallback` is not given. Values outside [min, max] are problems.
  int64_t Int(const std::string& key, int64_t min, int64_t max);
  int64_t Int(const std::string& key, int64_t min, int64_t max, int64_t fallback);
  double Number(const std::string& key, double min, double max);
  double Number(const std::string& key, double min, double max, double fallback);
  bool Bool(const std::string& key, bool fallback);
  std::string Text(const std::string& key, std::string_view fallback);
  // An integer or a list of integers; empty when absent.
  std::vector<int32_t> Ids(const std::string& key);
  // The object at `key`, or null.
  const nlohmann::json* Object(const std::string& key);

  // The value is understood but not supported: `supported` says what is.
  void Unsupported(const std::string& key, const std::string& found, const std::string& supported);
  // A problem in plain words, e.g. two fields that contradict one another.
  void Invalid(const std::string& problem);

  const absl::Status& status() const { return status_; }
  void Merge(const ConfigFields& other) { Keep(other.status_); }

 private:
  const nlohmann::json* Find(const std::string& key) const;
  void Wrong(const std::string& key, const std::string& expected);
  void Keep(absl::Status status);

  const nlohmann::json& object_;
  std::string file_, where_;
  absl::Status status_;
};

}  // namespace tandem
