#include "service/grpc/answers.h"

#include <utility>

namespace tandem {
namespace {

template <class Event>
void AddTokens(const GenerationEvent& from, const Tokenizer& tokenizer, TokenDetail detail,
               Event& to) {
  if (detail == TokenDetail::kNone) return;
  const auto piece = [&](int32_t id) {
    return tokenizer.DecodeBytes({&id, 1}, /*skip_special=*/false);
  };
  for (const GeneratedToken& token : from.tokens) {
    v1::Token& out = *to.add_tokens();
    out.set_id(token.id);
    out.set_piece(piece(token.id));
    if (detail == TokenDetail::kLogprobs) out.set_logprob(token.logprob);
    for (const TopLogprob& top : token.top) {
      v1::TopLogprob& entry = *out.add_top();
      entry.set_id(top.id);
      entry.set_piece(piece(top.id));
      entry.set_logprob(top.logprob);
    }
  }
}

// REQUIRES: the generation came to its own end.
v1::Finish ToFinish(const GenerationEvent& event) {
  v1::Finish finish;
  finish.set_reason(event.finish == FinishReason::kLength ? v1::FINISH_REASON_LENGTH
                                                          : v1::FINISH_REASON_STOP);
  finish.set_stop_string(event.stop_string);
  v1::Usage& usage = *finish.mutable_usage();
  usage.set_prompt_tokens(event.usage.prompt_tokens);
  usage.set_completion_tokens(event.usage.completion_tokens);
  usage.set_queue_seconds(event.usage.queue_s);
  usage.set_prefill_seconds(event.usage.prefill_s);
  usage.set_decode_seconds(event.usage.decode_s);
  return finish;
}

bool CameToItsEnd(const GenerationEvent& event) {
  return event.finish == FinishReason::kStop || event.finish == FinishReason::kLength;
}

// Pieces of the same call come merged into one delta.
v1::ToolCallDelta& DeltaOf(int32_t call, v1::ChatEvent& event) {
  if (event.tool_calls().empty() || event.tool_calls().rbegin()->index() != call) {
    event.add_tool_calls()->set_index(call);
  }
  return *event.mutable_tool_calls()->rbegin();
}

void AddPiece(const AnswerPiece& piece, v1::ChatEvent& event) {
  switch (piece.kind) {
    case AnswerPiece::Kind::kReasoning:
      event.mutable_reasoning()->append(piece.text);
      return;
    case AnswerPiece::Kind::kText:
      event.mutable_text()->append(piece.text);
      return;
    case AnswerPiece::Kind::kToolCall: {
      v1::ToolCallDelta& delta = DeltaOf(piece.call, event);
      delta.set_id(piece.call_id);
      delta.set_name(piece.call_name);
      return;
    }
    case AnswerPiece::Kind::kToolArguments:
      DeltaOf(piece.call, event).mutable_arguments()->append(piece.text);
      return;
  }
}

}  // namespace

v1::GenerateEvent GenerateEncoder::Encode(const GenerationEvent& event) {
  v1::GenerateEvent out;
  out.set_text(event.text);
  AddTokens(event, tokenizer_, detail_, out);
  if (CameToItsEnd(event)) *out.mutable_finish() = ToFinish(event);
  return out;
}

v1::ChatEvent ChatEncoder::Encode(const GenerationEvent& event) {
  v1::ChatEvent out;
  for (const AnswerPiece& piece : parser_.Push(event.tokens, event.text)) AddPiece(piece, out);
  AddTokens(event, tokenizer_, detail_, out);
  if (CameToItsEnd(event)) {
    *out.mutable_finish() = ToFinish(event);
    if (event.finish == FinishReason::kStop && parser_.complete_calls() > 0) {
      out.mutable_finish()->set_reason(v1::FINISH_REASON_TOOL_CALLS);
    }
  }
  return out;
}

bool SaysSomething(const v1::GenerateEvent& event) {
  return !event.text().empty() || !event.tokens().empty() || event.has_finish();
}

bool SaysSomething(const v1::ChatEvent& event) {
  return !event.reasoning().empty() || !event.text().empty() || !event.tool_calls().empty() ||
         !event.tokens().empty() || event.has_finish();
}

}  // namespace tandem
