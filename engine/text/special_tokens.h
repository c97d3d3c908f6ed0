// The 256 control slots that follow the byte-pair vocabulary (kimi_k26: special ids).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"

namespace tandem {

class SpecialTokens {
 public:
  static constexpr int32_t kSlots = 256;

  struct Slot {
    std::string text;      // empty: the slot gets its default name
    bool flagged = false;  // "special" in tokenizer_config.json: skipped when decoding for people
  };
  struct Match {
    size_t begin = std::string_view::npos;  // npos: none
    size_t bytes = 0;
    int32_t id = -1;
  };

  // Ids first_id .. first_id+255. Slots without a name become <|reserved_token_ID|>. Fails if two
  // slots have one name.
  static absl::StatusOr<SpecialTokens> Create(int32_t first_id, std::array<Slot, kSlots> slots);

  bool Contains(int32_t id) const { return id >= first_id_ && id < first_id_ + kSlots; }
  const Slot& At(int32_t id) const { return slots_[id - first_id_]; }  // REQUIRES: Contains(id)
  std::optional<int32_t> Find(std::string_view text) const;
  // The leftmost special token in `text`, the longest of those that begin there.
  Match FindFirst(std::string_view text) const;

 private:
  int32_t first_id_ = 0;
  std::array<Slot, kSlots> slots_;
  std::unordered_map<std::string, int32_t> ids_;
  // By first byte, longest first.
  std::array<std::vector<int32_t>, 256> by_first_byte_;
};

}  // namespace tandem
