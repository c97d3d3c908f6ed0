// Tool calls as Anthropic's clients know them: ids without "." and ":", arguments as an object.
//
// An id says which number the model gave the call, so that it can be written again as it was, by
// any server: "toolu_", 16 letters or digits, "_", the number. The arguments' text (its spaces, how
// a number is written) is lost in an object; for as long as there is room it is remembered here,
// and a conversation that comes back is rendered byte for byte as it was generated.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace tandem {

// The id a client is told. `native_id`: "functions.NAME:7", as the model wrote it; if it is of
// another shape, the number is left out.
std::string MakeToolUseId(std::string_view native_id);

// What the model knows the call by: "functions.NAME:7" of an id made above, any other id as it is.
std::string NativeCallIdOf(const std::string& tool_use_id, const std::string& name);

// Texts of arguments by id and caller; the least recently used go first. Thread-safe.
class CallMemory {
 public:
  explicit CallMemory(int64_t max_bytes) : max_bytes_(max_bytes) {}

  void Remember(const std::string& caller, const std::string& id, const std::string& arguments);
  // The text that was remembered, if it means the same as `input`.
  std::optional<std::string> Recall(const std::string& caller, const std::string& id,
                                    const nlohmann::ordered_json& input);
  int64_t bytes() const;

 private:
  struct Entry {
    std::string key, arguments;
  };
  static int64_t BytesOf(const Entry& entry);

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the latest used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // of entries_
  int64_t bytes_ = 0;
};

}  // namespace tandem
