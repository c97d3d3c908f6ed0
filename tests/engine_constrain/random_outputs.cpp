// Writes what random models answer under schemas, one JSON line each, for an outside validator:
//   random_outputs TOKENIZER_DIR SCHEMAS.json PER_SCHEMA OUT.jsonl [NAME]
// Half of the answers come from uniform logits, half from peaked ones.
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/constrain/answer_rules.h"
#include "random_answers.h"

namespace tandem::testing {
namespace {

constexpr int kMaxTokens = 20000;

int Write(const Tokenizer& tokenizer, const nlohmann::ordered_json& schemas, int per_schema,
          const char* out_path, const std::string& only) {
  const std::vector<int32_t> end_ids = {tokenizer.SpecialId("<|im_end|>").value()};
  const auto compiler = ConstraintCompiler::Create(tokenizer, end_ids, {.max_compile_s = 120});
  std::ofstream out(out_path);
  RandomModel flat(tokenizer, 0, 11), peaked(tokenizer, 3, 12);
  for (const auto& [name, schema] : schemas.items()) {
    if (!only.empty() && name != only) continue;
    for (int i = 0; i < per_schema; ++i) {
      auto constraint = compiler->Compile({.text = TextRule::kJsonSchema, .text_schema = schema});
      if (!constraint.ok())
        return std::fprintf(stderr, "%s: %s\n", name.c_str(),
                            constraint.status().ToString().c_str()),
               1;
      const RandomAnswer answer = (i % 2 ? peaked : flat).Answer(**constraint, end_ids, kMaxTokens);
      const nlohmann::json line = {{"schema", name},
                                   {"text", answer.text},
                                   {"ended", answer.ended},
                                   {"tokens", answer.ids.size()},
                                   {"error", std::string(answer.status.message())}};
      out << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    }
  }
  return 0;
}

}  // namespace
}  // namespace tandem::testing

int main(int argc, char** argv) {
  if (argc < 5) return std::fprintf(stderr, "random_outputs TOKENIZER_DIR SCHEMAS N OUT\n"), 2;
  const auto tokenizer = tandem::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok())
    return std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str()), 1;
  std::ifstream file(argv[2]);
  return tandem::testing::Write(**tokenizer, nlohmann::ordered_json::parse(file),
                                std::atoi(argv[3]), argv[4], argc > 5 ? argv[5] : "");
}
