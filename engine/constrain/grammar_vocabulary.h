// A tokenizer's vocabulary as grammars see it: tokens are bytes, control tokens are nothing.
// Immutable.
#pragma once

#include <xgrammar/tokenizer_info.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace tandem {

// The control tokens that shape an answer (kimi_k26: output grammar); those the model has.
struct AnswerMarkers {
  std::optional<int32_t> think_begin, think_end;
  std::optional<int32_t> section_begin, call_begin, argument_begin, call_end, section_end;

  explicit AnswerMarkers(const Tokenizer& tokenizer);
  bool calls() const {
    return section_begin && call_begin && argument_begin && call_end && section_end;
  }
};

class GrammarVocabulary {
 public:
  // `tokenizer` need not outlive it.
  GrammarVocabulary(const Tokenizer& tokenizer, std::vector<int32_t> end_ids);

  int32_t size() const { return size_; }
  const AnswerMarkers& markers() const { return markers_; }
  const std::vector<int32_t>& end_ids() const { return end_ids_; }
  const xgrammar::TokenizerInfo& xgrammar() const { return xgrammar_; }

  // A mask of all tokens but the control tokens.
  std::span<const uint32_t> text_mask() const { return text_mask_; }
  // Empty for a control token.
  std::string_view Bytes(int32_t id) const { return xgrammar_.GetDecodedVocab()[id]; }
  // The tokens of exactly these bytes.
  template <class Visit>
  void ForEachToken(std::string_view bytes, const Visit& visit) const {
    for (auto it = LowerBound(bytes); it != sorted().end() && it->second == bytes; ++it)
      visit(it->first);
  }

 private:
  using Sorted = std::vector<std::pair<int32_t, std::string>>;
  const Sorted& sorted() const { return xgrammar_.GetSortedDecodedVocab(); }
  Sorted::const_iterator LowerBound(std::string_view bytes) const;

  int32_t size_;
  AnswerMarkers markers_;
  std::vector<int32_t> end_ids_;
  std::vector<uint32_t> text_mask_;
  xgrammar::TokenizerInfo xgrammar_;
};

}  // namespace tandem
