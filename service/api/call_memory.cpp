#include "service/api/call_memory.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "service/api/random_id.h"

namespace tandem {
namespace {

constexpr std::string_view kPrefix = "toolu_";
constexpr size_t kRandomLength = 16, kMaxDigits = 6;
constexpr int64_t kEntryOverhead = 160;  // of list, map and strings, about

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

std::string KeyOf(const std::string& caller, const std::string& id) {
  return absl::StrCat(caller, "\n", id);
}

// The number that "functions.NAME:7" ends in; "" if it is not written plainly.
std::string_view IndexOf(std::string_view native_id) {
  const size_t colon = native_id.rfind(':');
  if (!native_id.starts_with("functions.") || colon == std::string_view::npos) return "";
  const std::string_view index = native_id.substr(colon + 1);
  const bool plain =
      AllDigits(index) && index.size() <= kMaxDigits && (index == "0" || index[0] != '0');
  return plain ? index : "";
}

}  // namespace

std::string MakeToolUseId(std::string_view native_id) {
  const std::string_view index = IndexOf(native_id);
  const std::string id = absl::StrCat(std::string(kPrefix), RandomId(kRandomLength));
  return index.empty() ? id : absl::StrCat(id, "_", std::string(index));
}

std::string NativeCallIdOf(const std::string& tool_use_id, const std::string& name) {
  const std::string_view id = tool_use_id;
  constexpr size_t kIndexAt = kPrefix.size() + kRandomLength + 1;
  if (!id.starts_with(kPrefix) || id.size() <= kIndexAt || id[kIndexAt - 1] != '_')
    return tool_use_id;
  const std::string_view index = id.substr(kIndexAt);
  if (!AllDigits(index) || index.size() > kMaxDigits) return tool_use_id;
  return absl::StrCat("functions.", name, ":", std::string(index));
}

int64_t CallMemory::BytesOf(const Entry& entry) {
  return static_cast<int64_t>(entry.key.size() + entry.arguments.size()) + kEntryOverhead;
}

void CallMemory::Remember(const std::string& caller, const std::string& id,
                          const std::string& arguments) {
  Entry entry = {KeyOf(caller, id), arguments};
  const int64_t bytes = BytesOf(entry);
  if (bytes > max_bytes_) return;
  std::lock_guard lock(mutex_);
  if (by_key_.contains(entry.key)) return;
  entries_.push_front(std::move(entry));
  by_key_[entries_.front().key] = entries_.begin();
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= BytesOf(entries_.back());
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

std::optional<std::string> CallMemory::Recall(const std::string& caller, const std::string& id,
                                              const nlohmann::ordered_json& input) {
  std::string arguments;
  {
    std::lock_guard lock(mutex_);
    const auto found = by_key_.find(KeyOf(caller, id));
    if (found == by_key_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, found->second);
    arguments = found->second->arguments;
  }
  // Neither the order of keys nor 1.0 for 1 makes a difference: clients change both.
  const nlohmann::json remembered = nlohmann::json::parse(arguments, nullptr, false);
  if (remembered.is_discarded() || remembered != nlohmann::json(input)) return std::nullopt;
  return arguments;
}

int64_t CallMemory::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace tandem
