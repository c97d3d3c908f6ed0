#include "engine/text/output_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace tandem {

OutputParser::OutputParser(const Tokenizer& tokenizer, bool thinking, int32_t first_call_index)
    : tokenizer_(tokenizer), first_call_index_(first_call_index) {
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
  const bool reasons = thinking && tokenizer.SpecialId("</think>").has_value();
  state_ = reasons ? State::kReasoning : State::kText;
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

std::vector<AnswerPiece> OutputParser::Finish(bool cut) {
  if (state_ == State::kReasoning || state_ == State::kText) {
    LeaveWords(/*calls_follow=*/false);
  } else if (state_ == State::kCallHeader && !cut) {
    CloseHeader();
  }
  if (state_ == State::kArguments) {
    Emit(AnswerPiece::Kind::kToolArguments, section_end_.matched());
    section_end_.Reset();
    if (!cut) CloseCall();
  }
  state_ = State::kAfterSection;
  return std::exchange(pieces_, {});
}

const OutputParser::Marker* OutputParser::MarkerOf(int32_t id) const {
  const auto found = std::find_if(marker_ids_.begin(), marker_ids_.end(),
                                  [id](const auto& entry) { return entry.first == id; });
  return found == marker_ids_.end() ? nullptr : &found->second;
}

void OutputParser::PlaceMarkers(std::span<const GeneratedToken> tokens) {
  for (const GeneratedToken& token : tokens) {
    const std::string bytes = tokenizer_.DecodeBytes({&token.id, 1}, /*skip_special=*/true);
    decoded_ += mirror_.Push(bytes).size();
    const Marker* marker = MarkerOf(token.id);
    if (marker == nullptr || bytes.empty()) continue;
    // Marker text is ASCII, so nothing of it is held back: it ends exactly here.
    ahead_.push_back({*marker, decoded_ - bytes.size(), decoded_});
  }
}

void OutputParser::OnText(std::string_view text) {
  switch (state_) {
    case State::kReasoning:
    case State::kText:
      return OnWords(text);
    case State::kSection:
    case State::kCallHeader:
      header_.append(text);
      return;
    case State::kArguments:
      return OnArguments(text);
    case State::kAfterSection:
      return;
  }
}

// Reasoning or text. Held back are white space that may be dropped, and what looks like a section's
// marker spelt out, until it is clear whether a call follows.
void OutputParser::OnWords(std::string_view text) {
  const bool reasons = state_ == State::kReasoning;
  std::string out;
  for (const char c : text) {
    const bool is_space = absl::ascii_isspace(c);
    if (section_begin_.complete() && is_space) {
      space_after_ += c;
      continue;
    }
    if (section_begin_.Take(c)) continue;
    if (section_begin_.begun()) {  // it was something else
      out += std::exchange(space_, {});
      out += section_begin_.matched();
      space_ = std::exchange(space_after_, {});
      section_begin_.Reset();
      any_words_ |= !reasons;
      if (section_begin_.Take(c)) continue;
    }
    if (is_space && (reasons || !any_words_)) {
      space_ += c;
    } else {
      out += std::exchange(space_, {});
      out += c;
      any_words_ |= !reasons;
    }
  }
  if (!out.empty()) Emit(reasons ? AnswerPiece::Kind::kReasoning : AnswerPiece::Kind::kText, out);
}

// Reasoning or text ends here. `calls_follow`: so a section's marker spelt out is one.
void OutputParser::LeaveWords(bool calls_follow) {
  const bool reasons = state_ == State::kReasoning;
  std::string out;
  if (section_begin_.begun() && !(calls_follow && section_begin_.complete())) {
    out = space_ + std::string(section_begin_.matched());
    space_ = space_after_;
    any_words_ |= !reasons;
  }
  if (!reasons && (any_words_ || !calls_follow)) out += space_;
  space_.clear();
  space_after_.clear();
  section_begin_.Reset();
  if (!out.empty()) Emit(reasons ? AnswerPiece::Kind::kReasoning : AnswerPiece::Kind::kText, out);
}

void OutputParser::OnArguments(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (arguments_end_.reached() && section_end_.Take(c)) {
      if (!section_end_.complete()) continue;
      Emit(AnswerPiece::Kind::kToolArguments, out);
      section_end_.Reset();
      CloseCall();
      state_ = State::kAfterSection;
      return;
    }
    out += section_end_.matched();
    section_end_.Reset();
    if (arguments_end_.reached() && section_end_.Take(c)) continue;
    arguments_end_.Push(c);
    out += c;
  }
  Emit(AnswerPiece::Kind::kToolArguments, out);
}

void OutputParser::OnMarker(Marker marker) {
  const bool in_words = state_ == State::kReasoning || state_ == State::kText;
  switch (marker) {
    case Marker::kThinkBegin:
    case Marker::kThinkEnd:
      return OnThinkMarker(marker);
    case Marker::kSectionBegin:
    case Marker::kCallBegin:
      if (in_words) LeaveWords(/*calls_follow=*/true);
      CloseHeader();
      CloseCall();
      header_.clear();
      state_ = marker == Marker::kCallBegin ? State::kCallHeader : State::kSection;
      return;
    case Marker::kArgumentBegin:
      if (state_ == State::kCallHeader || state_ == State::kSection) BeginCall(header_);
      return;
    case Marker::kCallEnd:
    case Marker::kSectionEnd:
      if (in_words) return;  // ends nothing
      CloseHeader();
      CloseCall();
      header_.clear();
      if (state_ == State::kArguments) state_ = State::kSection;
      if (marker == Marker::kSectionEnd) state_ = State::kAfterSection;
      return;
  }
}

void OutputParser::OnThinkMarker(Marker marker) {
  const bool begins = marker == Marker::kThinkBegin;
  if (state_ == State::kArguments) {  // a program text that speaks of the markers
    OnText(begins ? "<think>" : "</think>");
  } else if (state_ == State::kReasoning && !begins) {
    LeaveWords(/*calls_follow=*/false);
    state_ = State::kText;
  } else if (state_ == State::kText && begins && !any_output_ && !section_begin_.begun()) {
    space_.clear();
    state_ = State::kReasoning;  // some models open their reasoning themselves
  }
}

// A header that no marker ended: a call without arguments, or with them right behind the id.
void OutputParser::CloseHeader() {
  if (state_ != State::kCallHeader) return;
  const std::string header = std::exchange(header_, {});
  const size_t json = header.find('{');
  BeginCall(std::string_view(header).substr(0, json));
  if (state_ == State::kArguments && json != std::string::npos)
    OnArguments(std::string_view(header).substr(json));
}

void OutputParser::BeginCall(std::string_view header) {
  std::string id(absl::StripAsciiWhitespace({header.data(), header.size()}));
  std::erase_if(id, [](char c) { return c == '\n' || c == '\r' || c == '\t'; });
  state_ = State::kSection;
  const std::string name = ToolNameOfCallId(id);
  if (name.empty()) return;  // a call of nothing
  const bool numbered = id != name && id != "functions." + name;
  if (!numbered) id = NativeCallId(name, first_call_index_ + calls_);
  pieces_.push_back({AnswerPiece::Kind::kToolCall, "", calls_++, id, name});
  any_output_ = true;
  arguments_empty_ = true;
  arguments_end_ = {};
  section_end_.Reset();
  state_ = State::kArguments;
}

// Ends the call whose arguments are open, if one is; the state is the caller's to change.
void OutputParser::CloseCall() {
  if (state_ != State::kArguments) return;
  Emit(AnswerPiece::Kind::kToolArguments, section_end_.matched());
  section_end_.Reset();
  if (arguments_empty_) Emit(AnswerPiece::Kind::kToolArguments, "{}");
  ++complete_calls_;
}

void OutputParser::Emit(AnswerPiece::Kind kind, std::string_view text) {
  if (text.empty()) return;
  any_output_ = true;
  if (kind == AnswerPiece::Kind::kToolArguments) arguments_empty_ = false;
  if (pieces_.empty() || pieces_.back().kind != kind) {
    pieces_.push_back({kind, "", std::max(calls_ - 1, 0), "", ""});
  }
  pieces_.back().text.append(text);
}

}  // namespace tandem
