// Not a test: what grammars cost with a whole vocabulary.
//   grammar_bench TOKENIZER_DIR FILE...   each file an EBNF text (*.ebnf) or a JSON schema
// Per file: time to compile, memory, then the time of a mask and of a token over random answers.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <sstream>

#include "engine/constrain/grammar_matcher.h"
#include "engine/constrain/grammar_store.h"
#include "engine/constrain/grammar_vocabulary.h"
#include "engine/constrain/json_grammar.h"
#include "engine/constrain/schema_grammar.h"
#include "engine/token_constraint.h"
#include "random_answers.h"

namespace tandem::testing {
namespace {

using Clock = std::chrono::steady_clock;

double Us(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

// One JSON text and an end token, timed.
class TimedText final : public TokenConstraint {
 public:
  TimedText(const xgrammar::CompiledGrammar& grammar, int32_t end_id)
      : matcher_(grammar, {end_id}) {}
  bool Next(std::span<uint32_t> allowed) override {
    const auto begin = Clock::now();
    std::ranges::fill(allowed, 0);
    if (!matcher_.Next(allowed)) std::ranges::fill(allowed, 0);
    mask_us.push_back(Us(begin));
    return true;
  }
  absl::Status Accept(int32_t id) override {
    const auto begin = Clock::now();
    const bool ok = matcher_.Accept(id);
    accept_us.push_back(Us(begin));
    return ok ? absl::OkStatus() : absl::InternalError("refused");
  }
  std::vector<double> mask_us, accept_us;

 private:
  GrammarMatcher matcher_;
};

std::string Figures(std::vector<double> us) {
  if (us.empty()) return "-";
  std::ranges::sort(us);
  char text[100];
  std::snprintf(text, sizeof text, "%.0f median, %.0f p99, %.0f most", us[us.size() / 2],
                us[us.size() * 99 / 100], us.back());
  return text;
}

int Run(const Tokenizer& tokenizer, const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  GrammarLimits limits{.max_compile_s = 600, .max_compile_bytes = int64_t{16} << 30};
  std::string grammar = text.str();
  if (!file.ends_with(".ebnf")) {
    SchemaBudget budget(limits);
    const auto made = SchemaGrammar(nlohmann::ordered_json::parse(grammar), "the schema",
                                    SchemaRoot::kAny, budget);
    if (!made.ok()) {
      std::printf("%s: %s\n", file.c_str(), std::string(made.status().message()).c_str());
      return 1;
    }
    grammar = *made;
  } else {
    grammar += JsonRules();
  }
  const int32_t end_id = tokenizer.vocab_size() - 1;
  const GrammarVocabulary vocabulary(tokenizer, {end_id});
  GrammarStore store(vocabulary.xgrammar(), limits);
  const auto begin = Clock::now();
  const auto compiled = store.Get({grammar});
  const double compile_us = Us(begin);
  if (!compiled.ok()) {
    std::printf("%s: %s\n", file.c_str(), compiled.status().ToString().c_str());
    return 1;
  }
  std::printf("%s: %zu bytes of grammar, compiled in %.0f ms, %.1f MiB\n", file.c_str(),
              grammar.size(), compile_us / 1e3, (*compiled)[0]->MemorySizeBytes() / 1048576.0);
  RandomModel model(tokenizer, 1, 1);
  std::vector<double> mask_us, accept_us;
  int ended = 0;
  for (int i = 0; i < 10; ++i) {
    TimedText constraint(*(*compiled)[0], end_id);
    const RandomAnswer answer = model.Answer(constraint, {end_id}, 500);
    if (!answer.status.ok()) std::printf("  %s\n", answer.status.ToString().c_str());
    ended += answer.ended;
    if (i < 2) std::printf("  %.150s\n", answer.text.c_str());
    mask_us.insert(mask_us.end(), constraint.mask_us.begin(), constraint.mask_us.end());
    accept_us.insert(accept_us.end(), constraint.accept_us.begin(), constraint.accept_us.end());
  }
  std::printf("  %d of 10 ended; us per mask: %s; per token taken: %s\n", ended,
              Figures(mask_us).c_str(), Figures(accept_us).c_str());
  return 0;
}

}  // namespace
}  // namespace tandem::testing

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "grammar_bench TOKENIZER_DIR FILE...\n"), 2;
  const auto tokenizer = tandem::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok())
    return std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str()), 1;
  int failed = 0;
  for (int i = 2; i < argc; ++i) failed += tandem::testing::Run(**tokenizer, argv[i]);
  return failed != 0;
}
