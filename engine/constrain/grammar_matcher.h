// One JSON text on its way through a compiled grammar. XGrammar's exceptions end here.
#pragma once

#include <xgrammar/matcher.h>

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"

namespace tandem {

class GrammarMatcher {
 public:
  // `stop_ids`: what may follow the text. REQUIRES: not empty.
  GrammarMatcher(const xgrammar::CompiledGrammar& grammar, std::vector<int32_t> stop_ids)
      : matcher_(grammar, std::move(stop_ids)) {}

  // Sets `allowed`, the stop tokens included once the text may end; false if XGrammar failed.
  // `allowed` is [MaskWords(vocab)].
  bool Next(std::span<uint32_t> allowed);
  // A token of the text; false if it does not fit.
  bool Accept(int32_t id);
  bool complete() const { return matcher_.IsCompleted(); }

 private:
  xgrammar::GrammarMatcher matcher_;
};

}  // namespace tandem
