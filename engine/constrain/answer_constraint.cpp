#include "engine/constrain/answer_constraint.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/constrain/token_mask.h"

namespace tandem {

AnswerConstraint::AnswerConstraint(std::shared_ptr<const GrammarVocabulary> vocabulary,
                                   AnswerPlan plan)
    : vocabulary_(std::move(vocabulary)), plan_(std::move(plan)) {
  TANDEM_CHECK(!vocabulary_->end_ids().empty(), "an answer must be able to end");
  TANDEM_CHECK(!MayCall() || markers().calls(), "calls need their markers");
  TANDEM_CHECK(!plan_.thinking || markers().think_end, "reasoning needs its end");
  state_ = State::kReasoning;
  if (!plan_.thinking) BeginText();
}

bool AnswerConstraint::IsEnd(int32_t id) const {
  return std::ranges::find(vocabulary_->end_ids(), id) != vocabulary_->end_ids().end();
}

bool AnswerConstraint::IsText(int32_t id) const {
  return id >= 0 && id < vocabulary_->size() && IsAllowed(vocabulary_->text_mask(), id);
}

// ---- What may come.

bool AnswerConstraint::Next(std::span<uint32_t> allowed) {
  if (state_ == State::kEnded) return false;
  std::ranges::fill(allowed, 0);
  allowed = allowed.first(MaskWords(vocabulary_->size()));
  switch (state_) {
    case State::kReasoning:
      AllowReasoning(allowed);
      break;
    case State::kText:
      AllowText(allowed);
      break;
    case State::kSection:
      if (calls_ == 0 || plan_.parallel_calls) AllowMarker(allowed, markers().call_begin);
      if (calls_ > 0) AllowMarker(allowed, markers().section_end);
      break;
    case State::kHeader:
      header_.AllowNext(*vocabulary_, allowed);
      if (header_.matched() >= 0) AllowMarker(allowed, markers().argument_begin);
      break;
    case State::kArguments:
      FillByGrammar(allowed);
      break;
    case State::kAfterSection:
      AllowEnd(allowed);
      break;
    case State::kEnded:
      break;
  }
  return true;
}

void AnswerConstraint::AllowMarker(std::span<uint32_t> allowed,
                                   const std::optional<int32_t>& id) const {
  if (id) Allow(allowed, *id);
}

void AnswerConstraint::AllowEnd(std::span<uint32_t> allowed) const {
  for (const int32_t id : vocabulary_->end_ids()) Allow(allowed, id);
}

void AnswerConstraint::AllowReasoning(std::span<uint32_t> allowed) const {
  AllowMarker(allowed, markers().think_end);
  if (plan_.max_reasoning_tokens > 0 && reasoning_tokens_ >= plan_.max_reasoning_tokens) return;
  std::ranges::copy(vocabulary_->text_mask(), allowed.begin());
  AllowMarker(allowed, markers().think_end);
  if (reasoning_tokens_ == 0) AllowMarker(allowed, markers().think_begin);
  if (MayCall()) AllowMarker(allowed, markers().section_begin);
  if (!plan_.text && plan_.tool_rule != ToolRule::kRequired) AllowEnd(allowed);
}

void AnswerConstraint::AllowText(std::span<uint32_t> allowed) {
  if (plan_.tool_rule == ToolRule::kRequired) return AllowMarker(allowed, markers().section_begin);
  if (plan_.text) {
    FillByGrammar(allowed);
    if (MayCall() && !text_begun_) AllowMarker(allowed, markers().section_begin);
    return;
  }
  std::ranges::copy(vocabulary_->text_mask(), allowed.begin());
  if (MayCall()) AllowMarker(allowed, markers().section_begin);
  AllowEnd(allowed);
}

void AnswerConstraint::FillByGrammar(std::span<uint32_t> allowed) {
  // With nothing allowed the request ends with an error of its own.
  if (!matcher_->Next(allowed)) std::ranges::fill(allowed, 0);
}

// ---- What came.

absl::Status AnswerConstraint::Accept(int32_t id) {
  if (Take(id)) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("token ", id, " may not come at this place of a constrained answer"));
}

bool AnswerConstraint::Take(int32_t id) {
  switch (state_) {
    case State::kReasoning:
      return TakeInReasoning(id);
    case State::kText:
      return TakeInText(id);
    case State::kSection:
      return TakeInSection(id);
    case State::kHeader:
      return TakeInHeader(id);
    case State::kArguments:
      return TakeInArguments(id);
    case State::kAfterSection:
      if (!IsEnd(id)) return false;
      state_ = State::kEnded;
      return true;
    case State::kEnded:
      return true;
  }
  return false;
}

bool AnswerConstraint::TakeInReasoning(int32_t id) {
  if (id == markers().think_end) {
    BeginText();
    return true;
  }
  if (id == markers().section_begin && MayCall()) {
    state_ = State::kSection;
    return true;
  }
  if (IsEnd(id)) {
    state_ = State::kEnded;
    return !plan_.text && plan_.tool_rule != ToolRule::kRequired;
  }
  const bool fits = IsText(id) || (reasoning_tokens_ == 0 && id == markers().think_begin);
  ++reasoning_tokens_;
  return fits;
}

void AnswerConstraint::BeginText() {
  state_ = State::kText;
  if (!plan_.text) return;
  std::vector<int32_t> stop_ids = vocabulary_->end_ids();
  if (MayCall()) stop_ids.push_back(*markers().section_begin);
  matcher_.emplace(*plan_.text, std::move(stop_ids));
}

bool AnswerConstraint::TakeInText(int32_t id) {
  const bool ends = IsEnd(id), calls = id == markers().section_begin && MayCall();
  if (ends || calls) {
    const bool required = plan_.tool_rule == ToolRule::kRequired;
    const bool complete = !plan_.text || required || matcher_->complete();
    matcher_.reset();
    state_ = ends ? State::kEnded : State::kSection;
    return ends ? complete && !required : complete || !text_begun_;
  }
  text_begun_ = true;
  if (plan_.tool_rule == ToolRule::kRequired) return false;
  return plan_.text ? matcher_->Accept(id) : IsText(id);
}

bool AnswerConstraint::TakeInSection(int32_t id) {
  if (id == markers().call_begin && (calls_ == 0 || plan_.parallel_calls)) {
    BeginCall();
    return true;
  }
  state_ = State::kAfterSection;
  return id == markers().section_end && calls_ > 0;
}

void AnswerConstraint::BeginCall() {
  std::vector<std::string> headers;
  for (const AnswerPlan::Tool& tool : plan_.tools)
    headers.push_back(absl::StrCat("functions.", tool.name, ":", plan_.first_call_index + calls_));
  header_ = LiteralChoice(std::move(headers));
  ++calls_;
  state_ = State::kHeader;
}

bool AnswerConstraint::TakeInHeader(int32_t id) {
  if (id != markers().argument_begin) return IsText(id) && header_.Accept(vocabulary_->Bytes(id));
  const int tool = header_.matched();
  if (tool < 0) return false;
  matcher_.emplace(*plan_.tools[tool].arguments, std::vector<int32_t>{*markers().call_end});
  state_ = State::kArguments;
  return true;
}

bool AnswerConstraint::TakeInArguments(int32_t id) {
  if (id != markers().call_end) return matcher_->Accept(id);
  const bool complete = matcher_->complete();
  matcher_.reset();
  state_ = State::kSection;
  return complete;
}

}  // namespace tandem
