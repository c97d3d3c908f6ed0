#include "service/grpc/answers.h"

#include <iterator>

namespace tandem {
namespace {

// About what a token, and one of its likely others, takes on the wire.
constexpr int64_t kTokenBytes = 16, kTopLogprobBytes = 24;

template <class Event>
void AddTokens(const ChatUpdate& from, const Tokenizer& tokenizer, TokenDetail detail, Event& to) {
  if (detail == TokenDetail::kNone) return;
  const auto piece = [&](int32_t id) {
    return tokenizer.DecodeBytes({&id, 1}, /*skip_special=*/false);
  };
  for (const auto& [token, part] : from.tokens) {
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

v1::FinishReason ToReason(ChatFinish finish) {
  if (finish == ChatFinish::kLength) return v1::FINISH_REASON_LENGTH;
  return finish == ChatFinish::kToolCalls ? v1::FINISH_REASON_TOOL_CALLS : v1::FINISH_REASON_STOP;
}

// An answer cut short has none: the call's status says so.
template <class Event>
void AddFinish(const ChatUpdate& update, Event& to) {
  if (!update.finish || *update.finish == ChatFinish::kError ||
      *update.finish == ChatFinish::kCancelled || *update.finish == ChatFinish::kDeadline) {
    return;
  }
  v1::Finish& finish = *to.mutable_finish();
  finish.set_reason(ToReason(*update.finish));
  finish.set_stop_string(update.stop_string);
  const Usage& from = update.usage.usage;
  v1::Usage& usage = *finish.mutable_usage();
  usage.set_prompt_tokens(from.prompt_tokens);
  usage.set_cached_tokens(from.cached_tokens);
  usage.set_completion_tokens(from.completion_tokens);
  usage.set_reasoning_tokens(update.usage.reasoning_tokens);
  usage.set_queue_seconds(from.queue_s);
  usage.set_prefill_seconds(from.prefill_s);
  usage.set_decode_seconds(from.decode_s);
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

v1::GenerateEvent ToGenerateEvent(const ChatUpdate& update, const Tokenizer& tokenizer,
                                  TokenDetail detail) {
  v1::GenerateEvent event;
  for (const AnswerPiece& piece : update.pieces) event.mutable_text()->append(piece.text);
  AddTokens(update, tokenizer, detail, event);
  AddFinish(update, event);
  return event;
}

v1::ChatEvent ToChatEvent(const ChatUpdate& update, const Tokenizer& tokenizer,
                          TokenDetail detail) {
  v1::ChatEvent event;
  for (const AnswerPiece& piece : update.pieces) AddPiece(piece, event);
  AddTokens(update, tokenizer, detail, event);
  AddFinish(update, event);
  return event;
}

int64_t Merge(const ChatUpdate& from, ChatUpdate& to) {
  int64_t bytes = 0;
  for (const AnswerPiece& piece : from.pieces) bytes += piece.text.size();
  for (const auto& [token, part] : from.tokens)
    bytes += kTokenBytes + kTopLogprobBytes * std::ssize(token.top);
  to.pieces.insert(to.pieces.end(), from.pieces.begin(), from.pieces.end());
  to.tokens.insert(to.tokens.end(), from.tokens.begin(), from.tokens.end());
  if (from.finish) {
    to.finish = from.finish;
    to.stop_string = from.stop_string;
    to.status = from.status;
    to.usage = from.usage;
  }
  return bytes;
}

bool SaysSomething(const v1::GenerateEvent& event) {
  return !event.text().empty() || !event.tokens().empty() || event.has_finish();
}

bool SaysSomething(const v1::ChatEvent& event) {
  return !event.reasoning().empty() || !event.text().empty() || !event.tool_calls().empty() ||
         !event.tokens().empty() || event.has_finish();
}

}  // namespace tandem
