#include "engine/constrain/literal_choice.h"

#include <algorithm>

#include "engine/constrain/token_mask.h"

namespace tandem {

void LiteralChoice::AllowNext(const GrammarVocabulary& vocabulary,
                              std::span<uint32_t> allowed) const {
  for (const std::string& text : texts_) {
    if (!Alive(text)) continue;
    const std::string_view rest = std::string_view(text).substr(matched_.size());
    for (size_t n = 1; n <= rest.size(); ++n)
      vocabulary.ForEachToken(rest.substr(0, n), [&](int32_t id) { Allow(allowed, id); });
  }
}

bool LiteralChoice::Accept(std::string_view bytes) {
  matched_ += bytes;
  return !bytes.empty() && std::ranges::any_of(texts_, [&](const auto& t) { return Alive(t); });
}

int LiteralChoice::matched() const {
  const auto it = std::ranges::find(texts_, matched_);
  return it == texts_.end() ? -1 : static_cast<int>(it - texts_.begin());
}

}  // namespace tandem
