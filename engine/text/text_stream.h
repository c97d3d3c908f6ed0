// Tokens of one answer -> text that can be shown at once: whole UTF-8, without stop strings.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/stop_matcher.h"
#include "engine/text/tokenizer.h"

namespace tandem {

// Of a chat's answer, stop strings end the text only: neither reasoning nor tool calls.
inline StopScope ChatStopScope(const Tokenizer& tokenizer, bool in_reasoning) {
  const auto add = [&](const char* marker, std::vector<int32_t>& ids) {
    if (const auto id = tokenizer.SpecialId(marker)) ids.push_back(*id);
  };
  StopScope scope;
  if (in_reasoning) add("</think>", scope.from);
  add("<|tool_calls_section_begin|>", scope.until);
  add("<|tool_call_begin|>", scope.until);
  return scope;
}

class TextStream {
 public:
  // `tokenizer` must outlive the stream.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_special,
             StopScope scope = {})
      : tokenizer_(&tokenizer),
        matcher_(std::move(stops)),
        scope_(std::move(scope)),
        place_(scope_.from.empty() ? Place::kIn : Place::kBefore),
        skip_special_(skip_special) {}

  // Takes one more token; returns the text that is certain by now.
  std::string Push(int32_t id) {
    const std::string bytes =
        tokenizer_->DecodeBytes(std::span<const int32_t>(&id, 1), skip_special_);
    if (!InScope(id)) return utf8_.Push(matcher_.Finish() + bytes);
    std::string text = utf8_.Push(matcher_.Push(bytes));
    if (matcher_.stopped()) text += utf8_.Finish();
    return text;
  }
  // What was held back, at an end that is no stop string. Nothing after a stop string.
  std::string Finish() {
    if (matcher_.stopped()) return {};
    std::string text = utf8_.Push(matcher_.Finish());
    return text + utf8_.Finish();
  }

  bool stopped() const { return matcher_.stopped(); }
  const std::string& stop_string() const { return matcher_.matched(); }

 private:
  enum class Place { kBefore, kIn, kAfter };

  // Whether stop strings look at this token; moves on.
  bool InScope(int32_t id) {
    const auto is_one_of = [id](const std::vector<int32_t>& ids) {
      return std::find(ids.begin(), ids.end(), id) != ids.end();
    };
    if (place_ != Place::kAfter && is_one_of(scope_.until)) place_ = Place::kAfter;
    if (place_ == Place::kIn) return true;
    if (place_ == Place::kBefore && is_one_of(scope_.from)) place_ = Place::kIn;
    return false;
  }

  const Tokenizer* tokenizer_;
  StopMatcher matcher_;
  StopScope scope_;
  Place place_;
  Utf8Stream utf8_;
  bool skip_special_;
};

}  // namespace tandem
