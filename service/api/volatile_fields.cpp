#include "service/api/volatile_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBilling = "x-anthropic-billing-header:";
constexpr std::string_view kTokensBegin = "<total_tokens>";
constexpr std::string_view kTokensEnd = " tokens left</total_tokens>";
constexpr size_t kMaxDigits = 20;

// Bytes of the billing line that `text` begins with, and of the line breaks after it; 0: none.
size_t BillingBytes(std::string_view text) {
  if (!text.starts_with(kBilling)) return 0;
  const size_t line = std::min(text.find('\n'), text.size());
  return std::min(text.find_first_not_of('\n', line), text.size());
}

// Bytes of the marker that `text` begins with; 0: none.
size_t MarkerBytes(std::string_view text) {
  if (!text.starts_with(kTokensBegin)) return 0;
  size_t end = kTokensBegin.size();
  while (end < text.size() && end < kTokensBegin.size() + kMaxDigits &&
         absl::ascii_isdigit(static_cast<unsigned char>(text[end])))
    ++end;
  if (end == kTokensBegin.size() || !text.substr(end).starts_with(kTokensEnd)) return 0;
  return end + kTokensEnd.size();
}

std::string WithoutMarkers(std::string_view text) {
  std::string kept;
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find(kTokensBegin, at), text.size());
    kept.append(text.substr(at, next - at));
    const size_t bytes = MarkerBytes(text.substr(next));
    if (bytes > 0) {
      absl::StripTrailingAsciiWhitespace(&kept);
    } else if (next < text.size()) {
      kept.push_back(text[next]);  // a "<" that begins something else
    }
    at = next + std::max<size_t>(bytes, 1);
  }
  return kept;
}

std::string Cleaned(std::string_view text, bool is_first) {
  if (is_first) text.remove_prefix(BillingBytes(text));
  return WithoutMarkers(text);
}

// Whether it had anything to take out.
bool Clean(Json& text, bool is_first) {
  if (!text.is_string()) return false;
  std::string cleaned = Cleaned(text.get_ref<const std::string&>(), is_first);
  if (cleaned == text.get_ref<const std::string&>()) return false;
  text = std::move(cleaned);
  return true;
}

bool CleanContent(Json& content, bool is_first) {
  if (!content.is_array()) return Clean(content, is_first);
  bool changed = false;
  for (size_t i = 0; i < content.size(); ++i) {
    if (!content[i].is_object() || !content[i].contains("text")) continue;
    changed = Clean(content[i]["text"], is_first && i == 0) || changed;
  }
  return changed;
}

bool IsSystem(const Json& message) {
  if (!message.is_object()) return false;
  const auto role = message.find("role");
  return role != message.end() && (*role == "system" || *role == "developer");
}

}  // namespace

std::optional<Json> WithoutVolatileFields(const Json& messages) {
  if (!messages.is_array()) return std::nullopt;
  std::vector<std::pair<size_t, Json>> changes;  // most prompts have none: copy them only then
  for (size_t i = 0; i < messages.size() && IsSystem(messages[i]); ++i) {
    const auto content = messages[i].find("content");
    if (content == messages[i].end()) continue;
    Json cleaned = *content;
    if (CleanContent(cleaned, i == 0)) changes.emplace_back(i, std::move(cleaned));
  }
  if (changes.empty()) return std::nullopt;
  Json result = messages;
  for (auto& [index, content] : changes) result[index]["content"] = std::move(content);
  return result;
}

}  // namespace tandem
