#include "engine/text/tokenizer.h"
#include "engine/text/unicode_classes.h"

namespace tandem {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Bytes at the beginning of `text` that could begin a valid sequence but do not make one: what one
// U+FFFD stands for. 1 if not even the second byte fits. `complete` is the length of the sequence
// that the first byte announces.
size_t TruncatedBytes(std::string_view text, size_t* complete) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  *complete = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return *complete = 1;
  if (text.size() < 2) return 1;
  // The second byte of a valid sequence is narrower after these leads (no overlong forms, no
  // surrogates, nothing above U+10FFFF).
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return *complete = 1;
  size_t n = 2;
  while (n < text.size() && n < *complete && (byte(n) & 0xC0) == 0x80) ++n;
  if (n < text.size()) *complete = n;  // the next byte is wrong: nothing to wait for
  return n;
}

}  // namespace

std::string Utf8Stream::Push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  const std::string_view text = held_;
  size_t at = 0;
  while (at < text.size()) {
    const DecodedChar c = DecodeChar(text, at);
    if (c.code_point != kInvalidByte) {
      out += text.substr(at, c.n_bytes);
      at += c.n_bytes;
      continue;
    }
    size_t complete;
    const size_t n = TruncatedBytes(text.substr(at), &complete);
    if (n < complete && at + n == text.size()) break;  // may still become a character
    out += kReplacement;
    at += n;
  }
  held_.erase(0, at);
  return out;
}

std::string Utf8Stream::Finish() {
  const bool had_rest = !held_.empty();
  held_.clear();
  return had_rest ? std::string(kReplacement) : std::string();
}

}  // namespace tandem
