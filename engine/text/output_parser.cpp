#include "engine/text/output_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace tandem {

OutputParser::OutputParser(const Tokenizer& tokenizer, bool thinking) : tokenizer_(tokenizer) {
  const std::pair<const char*, Marker> kMarkers[] = {
      {"<think>", Marker::kThinkBegin},
      {"</think>", Marker::kThinkEnd},
      {"<|tool_calls_section_begin|>", Marker::kSectionBegin},
      {"<|tool_calls_section_end|>", Marker::kSectionEnd},
      {"<|tool_call_begin|>", Marker::kCallBegin},
      {"<|tool_call_argument_begin|>", Marker::kArgumentBegin},
      {"<|tool_call_end|>", Marker::kCallEnd},
  };
  for (const auto& [text, marker] : kMarkers) {
    if (auto id = tokenizer.SpecialId(text)) marker_ids_.emplace_back(*id, marker);
  }
  // A vocabulary that cannot end its reasoning has none.
  const bool has_reasoning = tokenizer.SpecialId("</think>").has_value();
  state_ = thinking && has_reasoning ? State::kReasoning : State::kText;
}

std::vector<AnswerPiece> OutputParser::Push(std::span<const GeneratedToken> tokens,
                                            std::string_view text) {
  PlaceMarkers(tokens);
  while (!text.empty()) {
    size_t take = text.size();
    if (ahead_.empty()) {
      OnText(text);
    } else if (consumed_ < ahead_.front().begin) {
      take = std::min(take, ahead_.front().begin - consumed_);
      OnText(text.substr(0, take));
    } else {  // inside a marker: it counts when its last byte has come
      take = std::min(take, ahead_.front().end - consumed_);
      if (consumed_ + take == ahead_.front().end) {
        OnMarker(ahead_.front().marker);
        ahead_.pop_front();
      }
    }
    consumed_ += take;
    text.remove_prefix(take);
  }
  return std::exchange(pieces_, {});
}

void OutputParser::PlaceMarkers(std::span<const GeneratedToken> tokens) {
  for (const GeneratedToken& token : tokens) {
    const std::string bytes = tokenizer_.DecodeBytes({&token.id, 1}, /*skip_special=*/true);
    decoded_ += mirror_.Push(bytes).size();
    auto found = std::find_if(marker_ids_.begin(), marker_ids_.end(),
                              [&](const auto& entry) { return entry.first == token.id; });
    if (found == marker_ids_.end() || bytes.empty()) continue;
    // Marker text is ASCII, so nothing of it is held back: it ends exactly here.
    ahead_.push_back({found->second, decoded_ - bytes.size(), decoded_});
  }
}

void OutputParser::OnText(std::string_view text) {
  switch (state_) {
    case State::kReasoning:
      return Emit(AnswerPiece::Kind::kReasoning, text);
    case State::kText:
      return Emit(AnswerPiece::Kind::kText, text);
    case State::kCallHeader:
      header_.append(text);
      return;
    case State::kArguments:
      arguments_empty_ = false;
      return Emit(AnswerPiece::Kind::kToolArguments, text);
    case State::kSection:
    case State::kAfterSection:
      return;
  }
}

void OutputParser::OnMarker(Marker marker) {
  switch (marker) {
    case Marker::kThinkBegin:
    case Marker::kThinkEnd:
      return OnThinkMarker(marker);
    case Marker::kSectionBegin:
      CloseCall();
      state_ = State::kSection;
      return;
    case Marker::kCallBegin:
      CloseCall();
      header_.clear();
      state_ = State::kCallHeader;
      return;
    case Marker::kArgumentBegin:
      if (state_ == State::kCallHeader) BeginCall();
      return;
    case Marker::kCallEnd:
      if (state_ == State::kCallHeader) BeginCall();  // a call without arguments
      CloseCall();
      if (state_ == State::kArguments) state_ = State::kSection;
      return;
    case Marker::kSectionEnd:
      CloseCall();
      state_ = State::kAfterSection;
      return;
  }
}

void OutputParser::OnThinkMarker(Marker marker) {
  const bool begins = marker == Marker::kThinkBegin;
  if (state_ == State::kArguments) {  // a program text that speaks of the markers
    OnText(begins ? "<think>" : "</think>");
  } else if (state_ == State::kReasoning && !begins) {
    state_ = State::kText;
  } else if (state_ == State::kText && begins && !any_output_) {
    state_ = State::kReasoning;  // some models open their reasoning themselves
  }
}

void OutputParser::BeginCall() {
  const std::string id(absl::StripAsciiWhitespace(header_));
  pieces_.push_back({AnswerPiece::Kind::kToolCall, "", calls_++, id, ToolNameOfCallId(id)});
  arguments_empty_ = true;
  state_ = State::kArguments;
}

// Ends the call whose arguments are open, if one is; the state is the caller's to change.
void OutputParser::CloseCall() {
  if (state_ != State::kArguments) return;
  if (arguments_empty_) Emit(AnswerPiece::Kind::kToolArguments, "{}");
  ++complete_calls_;
}

void OutputParser::Emit(AnswerPiece::Kind kind, std::string_view text) {
  any_output_ = true;
  if (pieces_.empty() || pieces_.back().kind != kind) {
    pieces_.push_back({kind, "", std::max(calls_ - 1, 0), "", ""});
  }
  pieces_.back().text.append(text);
}

std::string ToolNameOfCallId(std::string_view call_id) {
  constexpr std::string_view kPrefix = "functions.";
  if (call_id.starts_with(kPrefix)) call_id.remove_prefix(kPrefix.size());
  const size_t colon = call_id.rfind(':');
  if (colon != std::string_view::npos && colon + 1 < call_id.size() &&
      std::all_of(call_id.begin() + colon + 1, call_id.end(), absl::ascii_isdigit)) {
    call_id = call_id.substr(0, colon);
  }
  return std::string(call_id);
}

}  // namespace tandem
