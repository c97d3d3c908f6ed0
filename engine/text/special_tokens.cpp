#include "engine/text/special_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {

absl::StatusOr<SpecialTokens> SpecialTokens::Create(int32_t first_id,
                                                    std::array<Slot, kSlots> slots) {
  SpecialTokens tokens;
  tokens.first_id_ = first_id;
  tokens.slots_ = std::move(slots);
  for (int32_t id = first_id; id < first_id + kSlots; ++id) {
    std::string& text = tokens.slots_[id - first_id].text;
    if (text.empty()) text = absl::StrCat("<|reserved_token_", id, "|>");
    const auto [other, is_new] = tokens.ids_.emplace(text, id);
    if (!is_new)
      return absl::InvalidArgumentError(absl::StrCat("special tokens ", other->second, " and ", id,
                                                     " have the same text \"", text, "\""));
    tokens.by_first_byte_[static_cast<uint8_t>(text[0])].push_back(id);
  }
  for (std::vector<int32_t>& ids : tokens.by_first_byte_) {
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
      return tokens.At(a).text.size() > tokens.At(b).text.size();
    });
  }
  return tokens;
}

std::optional<int32_t> SpecialTokens::Find(std::string_view text) const {
  const auto found = ids_.find(std::string(text));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

SpecialTokens::Match SpecialTokens::FindFirst(std::string_view text) const {
  for (size_t at = 0; at < text.size(); ++at) {
    for (const int32_t id : by_first_byte_[static_cast<uint8_t>(text[at])]) {
      const std::string& name = At(id).text;
      if (text.compare(at, name.size(), name) == 0) return {at, name.size(), id};
    }
  }
  return {};
}

}  // namespace tandem
