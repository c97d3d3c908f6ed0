// tiktoken byte-pair encoding with Kimi's split pattern (kimi_k26: tokenizer). Thread-safe after
// Load().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace tandem {

class Tokenizer {
 public:
  // Reads DIR/tiktoken.model and DIR/tokenizer_config.json. Errors name file, line and what is
  // wrong.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& dir);
  virtual ~Tokenizer() = default;

  // `parse_special`: whether the text of a special token becomes that token. Only for text we wrote
  // ourselves; user text is encoded with false. Any bytes are accepted (invalid UTF-8 too).
  virtual std::vector<int32_t> Encode(std::string_view text, bool parse_special) const = 0;

  // Bytes of the tokens, one after another; may end inside a UTF-8 sequence. Ids outside the
  // vocabulary give nothing. `skip_special` drops tokens flagged special in tokenizer_config.json.
  virtual std::string DecodeBytes(std::span<const int32_t> ids, bool skip_special) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> SpecialId(std::string_view text) const = 0;  // "<|im_end|>"
  virtual bool IsSpecial(int32_t id) const = 0;  // a control slot (any of the 256), flagged or not
  virtual bool IsSkipped(int32_t id) const = 0;  // flagged special: dropped by skip_special
};

// Turns bytes that may be cut anywhere into valid UTF-8 pieces: holds back an incomplete trailing
// sequence, replaces invalid bytes by U+FFFD. One object per stream.
class Utf8Stream {
 public:
  std::string Push(std::string_view bytes);
  std::string Finish();  // what was held back, replaced

 private:
  std::string held_;
};

}  // namespace tandem
