// Until grammars are here: only rules that restrict nothing.
#include "engine/constrain/answer_rules.h"

namespace tandem {
namespace {

class Unrestricted final : public ConstraintCompiler {
 public:
  absl::StatusOr<std::shared_ptr<TokenConstraint>> Compile(const AnswerRules& rules) override {
    if (rules.text == TextRule::kFree && rules.tool_rule != ToolRule::kRequired &&
        rules.max_reasoning_tokens == 0) {
      return nullptr;
    }
    return absl::UnimplementedError("constrained output is not built in");
  }
};

}  // namespace

std::unique_ptr<ConstraintCompiler> ConstraintCompiler::Create(const Tokenizer&,
                                                               std::vector<int32_t>,
                                                               const GrammarLimits&) {
  return std::make_unique<Unrestricted>();
}

}  // namespace tandem
