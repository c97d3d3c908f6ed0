// Matches one of a few given texts, token by token: what a choice of tool names needs. The texts
// change with every call (they hold its number), so they are no grammar to be compiled.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/constrain/grammar_vocabulary.h"

namespace tandem {

class LiteralChoice {
 public:
  LiteralChoice() = default;
  explicit LiteralChoice(std::vector<std::string> texts) : texts_(std::move(texts)) {}

  // Adds the tokens that go on towards one of the texts.
  void AllowNext(const GrammarVocabulary& vocabulary, std::span<uint32_t> allowed) const;
  // False if no text goes on like that.
  bool Accept(std::string_view bytes);
  // The index of the text that has been matched to its end; -1: none.
  int matched() const;

 private:
  bool Alive(const std::string& text) const {
    return text.size() >= matched_.size() && text.starts_with(matched_);
  }

  std::vector<std::string> texts_;
  std::string matched_;
};

}  // namespace tandem
