// Takes a chat answer apart while it streams: reasoning, text, tool calls (kimi_k26: output
// grammar).
//
// Markers are recognised by token id, never by text, so an answer may spell "</think>" in ordinary
// tokens. Marker text is in no piece. What models get wrong is forgiven: a tool section opened
// without closing the reasoning, a call without a section, a call closed by the section's end, a
// header without the marker that ends it, markers out of place, and the section's markers in the
// singular, which are no tokens but text. Text after the first tool call is dropped, as the format
// gives it no meaning. White space is dropped at the end of the reasoning, and where there is
// nothing else before the first call.
//
// The pieces put together depend on the answer alone, not on how it was cut: what could turn out to
// be something else is held back until it is clear. Not thread-safe; one object per answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/text/call_ids.h"
#include "engine/text/json_end.h"
#include "engine/text/marker_text.h"
#include "engine/text/tokenizer.h"

namespace tandem {

struct AnswerPiece {
  enum class Kind {
    kReasoning,
    kText,
    kToolCall,       // a call begins: `call`, `call_id`, `call_name`
    kToolArguments,  // `text` goes on the arguments of `call`: JSON text as the model wrote it
  };
  Kind kind;
  std::string text;
  int32_t call = 0;  // 0, 1, ... within the answer
  // As the model wrote it; if that has no number, "functions.NAME:INDEX" of the conversation.
  std::string call_id;
  std::string call_name;
};

class OutputParser {
 public:
  // `thinking`: the prompt ends inside <think>, so that the answer begins with reasoning
  // (RenderedChat::in_reasoning). `first_call_index`: RenderedChat::next_call_index. `tokenizer`
  // must outlive the parser.
  OutputParser(const Tokenizer& tokenizer, bool thinking, int32_t first_call_index = 0);

  // Feeds the next event of a generation that runs with skip_special: `tokens` and `text` as the
  // engine reported them (a token comes with or before its text).
  std::vector<AnswerPiece> Push(std::span<const GeneratedToken> tokens, std::string_view text);
  // After the last event: what was held back. `cut`: the answer ended before the model was done
  // (token limit, cancelled), so that a call that is open has not been completed.
  std::vector<AnswerPiece> Finish(bool cut);

  int32_t complete_calls() const { return complete_calls_; }

 private:
  enum class Marker {
    kThinkBegin,
    kThinkEnd,
    kSectionBegin,
    kSectionEnd,
    kCallBegin,
    kArgumentBegin,
    kCallEnd,
  };
  enum class State { kReasoning, kText, kSection, kCallHeader, kArguments, kAfterSection };
  struct PlacedMarker {
    Marker marker;
    size_t begin, end;  // in the answer's text, bytes
  };

  void PlaceMarkers(std::span<const GeneratedToken> tokens);
  void CountTokens(std::span<const GeneratedToken> tokens,
                   std::vector<GeneratedToken>* text_tokens);
  const Marker* MarkerOf(int32_t id) const;
  void OnText(std::string_view text);
  void OnWords(std::string_view text);
  void OnArguments(std::string_view text);
  void OnMarker(Marker marker);
  void OnThinkMarker(Marker marker);
  void LeaveWords(bool calls_follow);
  void OpenHeader();
  void CloseHeader();
  void BeginCall(std::string_view header);
  void CloseCall();
  void Emit(AnswerPiece::Kind kind, std::string_view text);

  const Tokenizer& tokenizer_;
  const int32_t first_call_index_;
  std::vector<std::pair<int32_t, Marker>> marker_ids_;

  Utf8Stream mirror_;    // repeats the engine's own decoding, to know where a marker's text lies
  size_t decoded_ = 0;   // bytes of text that the tokens so far amount to
  size_t consumed_ = 0;  // bytes of text seen
  std::deque<PlacedMarker> ahead_;

  State state_;
  bool any_output_ = false;
  bool any_words_ = false;  // of the text, something but white space
  std::string space_;       // held back, before what section_begin_ holds back
  MarkerText section_begin_{"<|tool_call_section_begin|>"};
  std::string space_after_;  // that marker
  std::string header_;
  int32_t calls_ = 0, complete_calls_ = 0;
  bool arguments_empty_ = true;
  JsonEnd arguments_end_;
  MarkerText section_end_{"<|tool_call_section_end|>"};
  std::vector<AnswerPiece> pieces_;
};

}  // namespace tandem
