#include "engine/text/pretokenizer.h"

#include "engine/text/unicode_classes.h"

namespace tandem {
namespace {

// Walks over the characters of a text and knows their classes.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), classes_(CharClasses()) {}

  bool AtEnd(size_t at) const { return at >= text_.size(); }
  uint8_t ClassAt(size_t at, uint32_t* n_bytes) const {
    const auto byte = static_cast<uint8_t>(text_[at]);
    if (byte < 0x80) {
      *n_bytes = 1;
      return classes_[byte];
    }
    const DecodedChar c = DecodeChar(text_, at);
    *n_bytes = c.n_bytes;
    return c.code_point == kInvalidByte ? 0 : classes_[c.code_point];
  }
  // End of the run of characters whose class has a bit of `any`.
  size_t RunEnd(size_t at, uint8_t any) const {
    for (uint32_t n; !AtEnd(at) && (ClassAt(at, &n) & any) != 0;) at += n;
    return at;
  }
  size_t SymbolRunEnd(size_t at) const {
    for (uint32_t n; !AtEnd(at) && (ClassAt(at, &n) & (kWhiteSpace | kLetter | kNumber)) == 0;)
      at += n;
    return at;
  }
  char ByteAt(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

 private:
  std::string_view text_;
  const uint8_t* classes_;
};

// A* B+ from `at`; 0 if it does not match. A is greedy but gives back characters until B has one.
size_t MatchLowerWord(const Scanner& scan, size_t at) {
  size_t last_both_end = 0;  // end of the last character that is in A and in B
  for (uint32_t n; !scan.AtEnd(at); at += n) {
    const uint8_t c = scan.ClassAt(at, &n);
    if ((c & kUpperish) == 0) break;
    if (c & kLowerish) last_both_end = at + n;
  }
  const size_t end = scan.RunEnd(at, kLowerish);
  return end > at ? end : last_both_end;
}

// A+ B* from `at`; 0 if it does not match.
size_t MatchUpperWord(const Scanner& scan, size_t at) {
  const size_t end = scan.RunEnd(at, kUpperish);
  return end > at ? scan.RunEnd(end, kLowerish) : 0;
}

char LowerAscii(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Bytes of 's 't 're 've 'm 'll 'd at `at`, in any case; 0 if there is none. U+017F folds to s.
size_t ContractionBytes(const Scanner& scan, size_t at) {
  if (scan.ByteAt(at) != '\'') return 0;
  const char first = LowerAscii(scan.ByteAt(at + 1));
  const char second = LowerAscii(scan.ByteAt(at + 2));
  switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return second == 'e' ? 3 : 0;
    case 'l':
      return second == 'l' ? 3 : 0;
    case '\xC5':
      return scan.ByteAt(at + 2) == '\xBF' ? 3 : 0;
    default:
      return 0;
  }
}

// Alternatives 2 and 3 at the beginning of the text; 0 if neither matches.
size_t MatchWord(const Scanner& scan, uint8_t first_class, uint32_t first_bytes) {
  const bool may_lead = (first_class & (kLineBreak | kLetter | kNumber)) == 0;
  size_t end = may_lead ? MatchLowerWord(scan, first_bytes) : 0;
  if (end == 0) end = MatchLowerWord(scan, 0);
  if (end == 0 && may_lead) end = MatchUpperWord(scan, first_bytes);
  if (end == 0) end = MatchUpperWord(scan, 0);
  return end == 0 ? 0 : end + ContractionBytes(scan, end);
}

size_t MatchNumber(const Scanner& scan) {
  size_t at = 0;
  uint32_t n;
  for (int digits = 0; digits < 3 && !scan.AtEnd(at); ++digits, at += n) {
    if ((scan.ClassAt(at, &n) & kNumber) == 0) break;
  }
  return at;
}

// Alternative 5; 0 if it does not match.
size_t MatchSymbols(const Scanner& scan) {
  const size_t begin = scan.ByteAt(0) == ' ' ? 1 : 0;
  const size_t end = scan.SymbolRunEnd(begin);
  return end > begin ? scan.RunEnd(end, kLineBreak) : 0;
}

// Alternatives 6, 7 and 8. REQUIRES: the text begins with white space.
size_t MatchWhiteSpace(const Scanner& scan) {
  size_t at = 0, last_begin = 0, line_break_end = 0;
  for (uint32_t n; !scan.AtEnd(at); at += n) {
    const uint8_t c = scan.ClassAt(at, &n);
    if ((c & kWhiteSpace) == 0) break;
    last_begin = at;
    if (c & kLineBreak) line_break_end = at + n;
  }
  if (line_break_end > 0) return line_break_end;
  if (scan.AtEnd(at) || last_begin == 0) return at;
  return last_begin;  // the last one stays with what follows
}

}  // namespace

size_t PieceBytes(std::string_view text) {
  const Scanner scan(text);
  uint32_t first_bytes;
  const uint8_t first_class = scan.ClassAt(0, &first_bytes);
  if (first_class & kHan) return scan.RunEnd(first_bytes, kHan);
  if (const size_t end = MatchWord(scan, first_class, first_bytes); end > 0) return end;
  if (first_class & kNumber) return MatchNumber(scan);
  if (const size_t end = MatchSymbols(scan); end > 0) return end;
  return MatchWhiteSpace(scan);
}

}  // namespace tandem
