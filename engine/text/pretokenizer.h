// Cuts text into the pieces that byte-pair encoding never crosses: Kimi's split pattern and the two
// length limits of the published encoder (kimi_k26: split regex, encode()).
//
// The pattern, alternatives in order, leftmost first (A, B: kUpperish, kLowerish characters):
//   1  \p{Han}+
//   2  [^\r\n\p{L}\p{N}]? A* B+ ('s|'t|'re|'ve|'m|'ll|'d)?     suffix in any case
//   3  [^\r\n\p{L}\p{N}]? A+ B* ('s|'t|'re|'ve|'m|'ll|'d)?
//   4  \p{N}{1,3}
//   5  " "? [^\s\p{L}\p{N}]+ [\r\n]*
//   6  \s* [\r\n]+
//   7  \s+ (?!\S)
//   8  \s+
// Together they match every character, so pieces cover the text without gaps. A byte that is no
// valid UTF-8 counts as one character that is neither letter, number nor white space.
//
// Written by hand because it is several times faster than a general regex engine.
#pragma once

#include <cstddef>
#include <string_view>

namespace tandem {

// Bytes of the piece at the beginning of `text`. REQUIRES: text is not empty. Time is linear in the
// piece and the run of like characters after it.
size_t PieceBytes(std::string_view text);

// Bytes of the part at the beginning of `text` that is encoded on its own: at most 400,000
// characters, and without a run of more than 25,000 characters that are all white space or all not.
class TextCutter {
 public:
  explicit TextCutter(std::string_view text) : rest_(text) {}
  // The next part; empty when there is no more.
  std::string_view Next();

 private:
  std::string_view rest_;
  size_t slice_chars_ = 0;  // of the current slice of 400,000 that earlier parts used
};

}  // namespace tandem
