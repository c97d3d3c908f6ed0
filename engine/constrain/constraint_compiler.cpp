#include "absl/strings/str_cat.h"
#include "engine/constrain/answer_constraint.h"
#include "engine/constrain/answer_rules.h"
#include "engine/constrain/grammar_store.h"
#include "engine/constrain/grammar_vocabulary.h"
#include "engine/constrain/json_grammar.h"
#include "engine/constrain/schema_grammar.h"

namespace tandem {
namespace {

bool RestrictsNothing(const AnswerRules& rules) {
  const bool may_open_calls = rules.tool_rule == ToolRule::kNone && rules.tools.empty();
  const bool reasons_freely = !rules.thinking || rules.max_reasoning_tokens == 0;
  return rules.text == TextRule::kFree && may_open_calls && reasons_freely;
}

class Compiler final : public ConstraintCompiler {
 public:
  Compiler(const Tokenizer& tokenizer, std::vector<int32_t> end_ids, const GrammarLimits& limits)
      : limits_(limits),
        vocabulary_(std::make_shared<const GrammarVocabulary>(tokenizer, std::move(end_ids))),
        store_(vocabulary_->xgrammar(), limits) {}

  absl::StatusOr<std::shared_ptr<TokenConstraint>> Compile(const AnswerRules& rules) override {
    TANDEM_RETURN_IF_ERROR(Check(rules));
    if (RestrictsNothing(rules)) return nullptr;
    TANDEM_ASSIGN_OR_RETURN(const std::vector<std::string> texts, GrammarTexts(rules));
    TANDEM_ASSIGN_OR_RETURN(const std::vector<CompiledGrammar> grammars, store_.Get(texts));

    AnswerPlan plan{.thinking = rules.thinking,
                    .max_reasoning_tokens = rules.max_reasoning_tokens,
                    .tool_rule = rules.tool_rule,
                    .first_call_index = rules.first_call_index,
                    .parallel_calls = rules.parallel_calls};
    auto grammar = grammars.begin();
    if (HasTextGrammar(rules)) plan.text = *grammar++;
    if (rules.tool_rule != ToolRule::kNone)
      for (const CallableTool& tool : rules.tools) plan.tools.push_back({tool.name, *grammar++});
    return std::make_shared<AnswerConstraint>(vocabulary_, std::move(plan));
  }

 private:
  // With a call required there is no text.
  static bool HasTextGrammar(const AnswerRules& rules) {
    return rules.text != TextRule::kFree && rules.tool_rule != ToolRule::kRequired;
  }

  absl::Status Check(const AnswerRules& rules) const {
    const AnswerMarkers& markers = vocabulary_->markers();
    if (rules.tool_rule != ToolRule::kNone) {
      if (!markers.calls())
        return absl::InvalidArgumentError(
            "this model has no tool calls: its vocabulary lacks their markers");
      if (rules.tools.empty())
        return absl::InvalidArgumentError("a tool may be called, but none is declared");
    }
    if (rules.thinking && !markers.think_end)
      return absl::InvalidArgumentError(
          "this model has no thinking: no </think> in its vocabulary");
    if (vocabulary_->end_ids().empty())
      return absl::InvalidArgumentError("this model has no end token, its answers would not end");
    for (const CallableTool& tool : rules.tools)
      if (tool.name.empty()) return absl::InvalidArgumentError("a tool has no name");
    return absl::OkStatus();
  }

  // The text's grammar, if it has one, then the tools'.
  absl::StatusOr<std::vector<std::string>> GrammarTexts(const AnswerRules& rules) const {
    std::vector<std::string> texts;
    SchemaBudget budget(limits_);
    if (HasTextGrammar(rules)) {
      texts.push_back(AnyObjectGrammar());
      if (rules.text == TextRule::kJsonSchema) {
        TANDEM_ASSIGN_OR_RETURN(
            texts.back(), SchemaGrammar(rules.text_schema, "the schema", SchemaRoot::kAny, budget));
      }
    }
    if (rules.tool_rule == ToolRule::kNone) return texts;
    for (const CallableTool& tool : rules.tools) {
      texts.push_back(AnyObjectGrammar());
      if (!tool.strict || tool.parameters.is_null()) continue;
      TANDEM_ASSIGN_OR_RETURN(texts.back(),
                              SchemaGrammar(tool.parameters, absl::StrCat("tool '", tool.name, "'"),
                                            SchemaRoot::kObject, budget));
    }
    return texts;
  }

  const GrammarLimits limits_;
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  GrammarStore store_;
};

}  // namespace

std::unique_ptr<ConstraintCompiler> ConstraintCompiler::Create(const Tokenizer& tokenizer,
                                                               std::vector<int32_t> end_ids,
                                                               const GrammarLimits& limits) {
  return std::make_unique<Compiler>(tokenizer, std::move(end_ids), limits);
}

}  // namespace tandem
