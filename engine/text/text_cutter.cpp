#include "engine/text/pretokenizer.h"
#include "engine/text/unicode_classes.h"

namespace tandem {
namespace {

constexpr size_t kMaxSliceChars = 400'000;
constexpr size_t kMaxRunChars = 25'000;

// What Python's str.isspace says: White_Space and the four ASCII separators.
bool IsPythonSpace(uint32_t code_point, const uint8_t* classes) {
  if (code_point == kInvalidByte) return false;
  return (classes[code_point] & kWhiteSpace) != 0 || (code_point >= 0x1C && code_point <= 0x1F);
}

}  // namespace

std::string_view TextCutter::Next() {
  const uint8_t* classes = CharClasses();
  size_t at = 0, run_chars = 0;
  bool run_is_space = false;
  // No limit can be reached in a rest that is short in bytes.
  if (rest_.size() <= kMaxRunChars && slice_chars_ + rest_.size() <= kMaxSliceChars)
    at = rest_.size();
  while (at < rest_.size() && slice_chars_ < kMaxSliceChars) {
    const DecodedChar c = DecodeChar(rest_, at);
    const bool is_space = IsPythonSpace(c.code_point, classes);
    run_chars = is_space == run_is_space ? run_chars + 1 : 1;
    if (run_chars > kMaxRunChars) break;
    run_is_space = is_space;
    at += c.n_bytes;
    ++slice_chars_;
  }
  if (slice_chars_ == kMaxSliceChars) slice_chars_ = 0;
  const std::string_view part = rest_.substr(0, at);
  rest_.remove_prefix(at);
  return part;
}

}  // namespace tandem
