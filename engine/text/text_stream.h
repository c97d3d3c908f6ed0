// Tokens of one answer -> text that can be shown at once: whole UTF-8, without stop strings.
#pragma once

#include <string>
#include <vector>

#include "engine/stop_matcher.h"
#include "engine/text/tokenizer.h"

namespace tandem {

class TextStream {
 public:
  // `tokenizer` must outlive the stream.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_special)
      : tokenizer_(&tokenizer), matcher_(std::move(stops)), skip_special_(skip_special) {}

  // Takes one more token; returns the text that is certain by now.
  std::string Push(int32_t id) {
    std::string text = utf8_.Push(
        matcher_.Push(tokenizer_->DecodeBytes(std::span<const int32_t>(&id, 1), skip_special_)));
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
  const Tokenizer* tokenizer_;
  StopMatcher matcher_;
  Utf8Stream utf8_;
  bool skip_special_;
};

}  // namespace tandem
