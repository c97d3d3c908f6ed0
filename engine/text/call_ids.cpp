#include "engine/text/call_ids.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr std::string_view kPrefix = "functions.";

// Where ":INDEX" begins; npos if it does not end in one.
size_t FindIndex(std::string_view call_id) {
  const size_t colon = call_id.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == call_id.size()) return std::string_view::npos;
  const std::string_view digits = call_id.substr(colon + 1);
  return std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ? colon
                                                                        : std::string_view::npos;
}

std::unordered_set<std::string> NativeIdsOf(const std::vector<ChatMessage>& messages) {
  std::unordered_set<std::string> ids;
  for (const ChatMessage& message : messages) {
    for (const ChatToolCall& call : message.tool_calls) {
      if (IsNativeCallId(call.id)) ids.insert(call.id);
    }
  }
  return ids;
}

}  // namespace

std::string ToolNameOfCallId(std::string_view call_id) {
  if (call_id.starts_with(kPrefix)) call_id.remove_prefix(kPrefix.size());
  return std::string(call_id.substr(0, FindIndex(call_id)));
}

bool IsNativeCallId(std::string_view call_id) {
  if (!call_id.starts_with(kPrefix)) return false;
  const size_t index = FindIndex(call_id);
  return index != std::string_view::npos && index > kPrefix.size();
}

std::string NativeCallId(std::string_view name, int32_t index) {
  return absl::StrCat("functions.", std::string(name), ":", index);
}

int32_t NormaliseCallIds(std::vector<ChatMessage>& messages) {
  std::unordered_set<std::string> taken = NativeIdsOf(messages);
  std::unordered_map<std::string, std::string> renamed;  // by the latest call of that id
  int32_t calls = 0;
  for (ChatMessage& message : messages) {
    for (ChatToolCall& call : message.tool_calls) {
      int32_t index = calls++;
      if (IsNativeCallId(call.id)) continue;
      const std::string name = call.name.empty() ? ToolNameOfCallId(call.id) : call.name;
      std::string id = NativeCallId(name, index);
      while (!taken.insert(id).second) id = NativeCallId(name, ++index);
      renamed[call.id] = id;
      call.id = std::move(id);
    }
    const auto found = renamed.find(message.tool_call_id);
    if (found != renamed.end()) message.tool_call_id = found->second;
  }
  return calls;
}

}  // namespace tandem
