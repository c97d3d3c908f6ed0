#include "engine/constrain/grammar_matcher.h"

#include <exception>

#include "core/log.h"

namespace tandem {

bool GrammarMatcher::Next(std::span<uint32_t> allowed) {
  int64_t shape = static_cast<int64_t>(allowed.size());
  DLTensor tensor{};
  tensor.data = allowed.data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = xgrammar::GetBitmaskDLType();
  tensor.shape = &shape;
  try {
    // True for the words' bits behind the vocabulary, too: nobody looks at them.
    matcher_.FillNextTokenBitmask(&tensor);
    return true;
  } catch (const std::exception&) {  // its text may quote the answer
    LogError("a grammar could not say what comes next");
    return false;
  }
}

bool GrammarMatcher::Accept(int32_t id) {
  try {
    return matcher_.AcceptToken(id);
  } catch (const std::exception&) {
    LogError("a grammar could not take a token");
    return false;
  }
}

}  // namespace tandem
