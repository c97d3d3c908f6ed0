// Takes a chat answer apart while it streams: reasoning, text, tool calls (kimi_k26: output
// grammar).
//
// Markers are recognised by token id, never by text, so an answer may spell "</think>" in ordinary
// tokens. Marker text is in no piece. What models get wrong is forgiven: a tool section opened
// without closing the reasoning, a call without a section, a call closed by the section's end.
// Text after the first tool call is dropped, as the format gives it no meaning.
// Not thread-safe; one object per answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
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
  std::string call_id, call_name;
};

class OutputParser {
 public:
  // `thinking`: the prompt ends in <think>, so that the answer begins with reasoning.
  // `tokenizer` must outlive the parser.
  OutputParser(const Tokenizer& tokenizer, bool thinking);

  // Feeds the next event of a generation that runs with skip_special: `tokens` and `text` as the
  // engine reported them (a token comes with or before its text).
  std::vector<AnswerPiece> Push(std::span<const GeneratedToken> tokens, std::string_view text);

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
  void OnText(std::string_view text);
  void OnMarker(Marker marker);
  void OnThinkMarker(Marker marker);
  void BeginCall();
  void CloseCall();
  void Emit(AnswerPiece::Kind kind, std::string_view text);

  const Tokenizer& tokenizer_;
  std::vector<std::pair<int32_t, Marker>> marker_ids_;

  Utf8Stream mirror_;    // repeats the engine's own decoding, to know where a marker's text lies
  size_t decoded_ = 0;   // bytes of text that the tokens so far amount to
  size_t consumed_ = 0;  // bytes of text seen
  std::deque<PlacedMarker> ahead_;

  State state_;
  bool any_output_ = false;
  std::string header_;
  int32_t calls_ = 0, complete_calls_ = 0;
  bool arguments_empty_ = true;
  std::vector<AnswerPiece> pieces_;
};

// "functions.NAME:7" -> "NAME"; NAME may hold dots, colons and hyphens.
std::string ToolNameOfCallId(std::string_view call_id);

}  // namespace tandem
