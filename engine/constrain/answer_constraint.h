// The course of one answer as a state machine over control tokens (kimi_k26: output grammar), with
// a grammar at work only inside JSON:
//
//   reasoning --</think>--> text ---------------------end token--> ended
//       \                     \                                      /
//        `--section_begin------`--> section --call_begin--> header  /
//                                     ^  \                    |    /
//                      (another call) |   `section_end     argument_begin
//                                     |                       v
//                                     `------call_end---- arguments
//
// Outside of these arrows control tokens cannot come. Whoever opens the section without closing the
// reasoning is understood (kimi_k26: known failure cases).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/constrain/answer_rules.h"
#include "engine/constrain/grammar_matcher.h"
#include "engine/constrain/grammar_store.h"
#include "engine/constrain/grammar_vocabulary.h"
#include "engine/constrain/literal_choice.h"

namespace tandem {

// AnswerRules, compiled.
struct AnswerPlan {
  struct Tool {
    std::string name;
    CompiledGrammar arguments;
  };
  bool thinking = false;
  int32_t max_reasoning_tokens = 0;
  CompiledGrammar text;  // null: free
  ToolRule tool_rule = ToolRule::kNone;
  std::vector<Tool> tools;
  int32_t first_call_index = 0;
  bool parallel_calls = true;
};

class AnswerConstraint final : public TokenConstraint {
 public:
  // REQUIRES: the vocabulary has end tokens, and the markers that the plan needs.
  AnswerConstraint(std::shared_ptr<const GrammarVocabulary> vocabulary, AnswerPlan plan);

  bool Next(std::span<uint32_t> allowed) override;
  absl::Status Accept(int32_t id) override;

 private:
  enum class State {
    kReasoning,
    kText,
    kSection,  // between the calls of a section
    kHeader,   // functions.NAME:7
    kArguments,
    kAfterSection,  // only an end token may come
    kEnded,         // whatever comes: it is not part of the answer
  };

  void AllowReasoning(std::span<uint32_t> allowed) const;
  void AllowText(std::span<uint32_t> allowed);
  void AllowMarker(std::span<uint32_t> allowed, const std::optional<int32_t>& id) const;
  void AllowEnd(std::span<uint32_t> allowed) const;
  void FillByGrammar(std::span<uint32_t> allowed);

  bool Take(int32_t id);  // false: it may not come here
  bool TakeInReasoning(int32_t id);
  bool TakeInText(int32_t id);
  bool TakeInSection(int32_t id);
  bool TakeInHeader(int32_t id);
  bool TakeInArguments(int32_t id);
  void BeginText();
  void BeginCall();

  bool MayCall() const { return plan_.tool_rule != ToolRule::kNone; }
  bool IsEnd(int32_t id) const;
  bool IsText(int32_t id) const;
  const AnswerMarkers& markers() const { return vocabulary_->markers(); }

  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  AnswerPlan plan_;
  State state_;
  int32_t reasoning_tokens_ = 0;
  bool text_begun_ = false;
  int32_t calls_ = 0;
  LiteralChoice header_;
  std::optional<GrammarMatcher> matcher_;  // of the text or the arguments
};

}  // namespace tandem
