#include "engine/constrain/grammar_vocabulary.h"

#include <algorithm>

#include "engine/constrain/token_mask.h"
#include "engine/token_constraint.h"

namespace tandem {
namespace {

xgrammar::TokenizerInfo TextTokens(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(tokenizer.vocab_size());
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (!tokenizer.IsSpecial(id)) bytes[id] = tokenizer.DecodeBytes({&id, 1}, false);
  // Who ends a grammar is said per matcher; an empty list here keeps XGrammar from guessing.
  return xgrammar::TokenizerInfo(bytes, xgrammar::VocabType::RAW, std::nullopt,
                                 std::vector<int32_t>());
}

}  // namespace

AnswerMarkers::AnswerMarkers(const Tokenizer& tokenizer)
    : think_begin(tokenizer.SpecialId("<think>")),
      think_end(tokenizer.SpecialId("</think>")),
      section_begin(tokenizer.SpecialId("<|tool_calls_section_begin|>")),
      call_begin(tokenizer.SpecialId("<|tool_call_begin|>")),
      argument_begin(tokenizer.SpecialId("<|tool_call_argument_begin|>")),
      call_end(tokenizer.SpecialId("<|tool_call_end|>")),
      section_end(tokenizer.SpecialId("<|tool_calls_section_end|>")) {}

GrammarVocabulary::GrammarVocabulary(const Tokenizer& tokenizer, std::vector<int32_t> end_ids)
    : size_(tokenizer.vocab_size()),
      markers_(tokenizer),
      end_ids_(std::move(end_ids)),
      text_mask_(MaskWords(size_)),
      xgrammar_(TextTokens(tokenizer)) {
  std::erase_if(end_ids_, [&](int32_t id) { return id < 0 || id >= size_; });
  for (int32_t id = 0; id < size_; ++id)
    if (!tokenizer.IsSpecial(id)) Allow(text_mask_, id);
}

GrammarVocabulary::Sorted::const_iterator GrammarVocabulary::LowerBound(
    std::string_view bytes) const {
  return std::lower_bound(
      sorted().begin(), sorted().end(), bytes,
      [](const auto& token, std::string_view key) { return std::string_view(token.second) < key; });
}

}  // namespace tandem
