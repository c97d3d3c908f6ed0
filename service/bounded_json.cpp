#include "service/bounded_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownBytes = 64;  // of a client's text in an error

std::string Shown(const std::string& text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, kShownBytes)),
                      text.size() > kShownBytes ? "..." : "", "\"");
}

// Builds the value as the parser tells it; false from any handler ends the parse.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& value) override;
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("is not valid JSON: byte ", position, " is where it goes wrong"));
  }

  absl::StatusOr<Json> Finish() && {
    if (!error_.empty()) return absl::InvalidArgumentError(error_);
    return std::move(root_);
  }

 private:
  struct Level {
    Json value;
    std::string key;  // of an object: whose value comes next
    std::unordered_set<std::string> keys;
  };

  bool Fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
    return false;
  }
  bool Count() {
    return ++values_ <= limits_.max_json_values ||
           Fail(absl::StrCat("holds more than ", limits_.max_json_values, " values"));
  }
  bool Add(Json value) {
    if (!Count()) return false;
    Place(std::move(value));
    return true;
  }
  bool Open(Json empty);
  bool Close();
  void Place(Json value);

  const Limits& limits_;
  std::vector<Level> open_;
  Json root_;
  int64_t values_ = 0;
  std::string error_;
};

bool Builder::key(string_t& value) {
  Level& level = open_.back();
  if (!level.keys.insert(value).second)
    return Fail(absl::StrCat("has the key ", Shown(value), " twice in one object"));
  if (level.keys.size() > static_cast<size_t>(limits_.max_json_keys))
    return Fail(
        absl::StrCat("has an object with too many keys; expected at most ", limits_.max_json_keys));
  level.key = std::move(value);
  return true;
}

bool Builder::Open(Json empty) {
  if (!Count()) return false;
  if (open_.size() >= static_cast<size_t>(limits_.max_json_depth))
    return Fail(
        absl::StrCat("is nested too deeply; expected at most ", limits_.max_json_depth, " levels"));
  open_.push_back({std::move(empty), {}, {}});
  return true;
}

bool Builder::Close() {
  Json value = std::move(open_.back().value);
  open_.pop_back();
  Place(std::move(value));
  return true;
}

void Builder::Place(Json value) {
  if (open_.empty()) {
    root_ = std::move(value);
    return;
  }
  Level& level = open_.back();
  if (level.value.is_array()) {
    level.value.push_back(std::move(value));
  } else {  // the key is new, so the object need not be searched for it
    using Pairs = std::vector<std::pair<const std::string, Json>>;
    static_cast<Pairs&>(*level.value.get_ptr<Json::object_t*>())
        .emplace_back(std::move(level.key), std::move(value));
  }
}

}  // namespace

absl::StatusOr<Json> ParseBoundedJson(std::string_view text, const Limits& limits,
                                      int64_t max_bytes) {
  if (text.size() > static_cast<size_t>(max_bytes))
    return absl::InvalidArgumentError(
        absl::StrCat("is ", text.size(), " bytes long; expected at most ", max_bytes));
  // The parser would take it for the end, and what follows would be read by others only.
  if (const size_t nul = text.find('\0'); nul != text.npos)
    return absl::InvalidArgumentError(
        absl::StrCat("is not valid JSON: byte ", nul + 1, " is where it goes wrong"));
  Builder builder(limits);
  Json::sax_parse(text, &builder);
  return std::move(builder).Finish();
}

}  // namespace tandem
