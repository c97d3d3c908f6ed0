// Compiles grammars on threads of its own, and keeps those used last in memory.
//
// XGrammar cannot be interrupted: a caller whose time is up goes away with an error, and its
// grammar goes on to be compiled; once all threads are busy with such, new ones are refused.
// Thread-safe.
#pragma once

#include <xgrammar/compiler.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"
#include "engine/constrain/answer_rules.h"

namespace tandem {

using CompiledGrammar = std::shared_ptr<const xgrammar::CompiledGrammar>;

class GrammarStore {
 public:
  GrammarStore(const xgrammar::TokenizerInfo& vocabulary, const GrammarLimits& limits);
  ~GrammarStore();  // waits for what is being compiled, limits.max_compile_s at most

  // The grammars of these EBNF texts, in their order. Errors: INVALID_ARGUMENT (it took longer than
  // max_compile_s, more memory than max_compile_bytes), RESOURCE_EXHAUSTED (no thread was free in
  // time), INTERNAL (XGrammar refused it).
  absl::StatusOr<std::vector<CompiledGrammar>> Get(const std::vector<std::string>& texts);

  int64_t cached_bytes() const;
  int64_t cached_grammars() const;

 private:
  struct Shared;
  static void Work(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;  // a thread that is stuck may outlive the store
  std::vector<std::thread> threads_;
};

}  // namespace tandem
