// Character classes of Kimi's split pattern, one byte per code point, and strict UTF-8 decoding.
#pragma once

#include <cstdint>
#include <string_view>

namespace tandem {

// Bits of a class. The order is known to unicode_ranges.py.
enum CharClass : uint8_t {
  kHan = 1,          // Script=Han
  kUpperish = 2,     // Lu Lt Lm Lo M, but not Han: what a word may begin with
  kLowerish = 4,     // Ll Lm Lo M, but not Han: what a word goes on with
  kNumber = 8,       // N
  kLetter = 16,      // L
  kWhiteSpace = 32,  // White_Space
  kLineBreak = 64,   // CR or LF
};

// A class for each of the 0x110000 code points; built at the first call.
const uint8_t* CharClasses();

inline constexpr uint32_t kInvalidByte = 0xFFFFFFFF;

struct DecodedChar {
  uint32_t code_point;  // kInvalidByte if no valid sequence begins here
  uint32_t n_bytes;     // 1 for an invalid byte
};

// REQUIRES: at < text.size(). Rejects overlong forms, surrogates and values above 0x10FFFF.
inline DecodedChar DecodeChar(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t left = text.size() - at;
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  if (lead >= 0xC2 && lead < 0xE0) {
    if (left >= 2 && follows(1)) return {(lead & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
  } else if (lead >= 0xE0 && lead < 0xF0) {
    if (left >= 3 && follows(1) && follows(2)) {
      const uint32_t c = (lead & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
      if (c >= 0x800 && (c < 0xD800 || c > 0xDFFF)) return {c, 3};
    }
  } else if (lead >= 0xF0 && lead < 0xF5) {
    if (left >= 4 && follows(1) && follows(2) && follows(3)) {
      const uint32_t c = (lead & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 |
                         (byte(3) & 0x3Fu);
      if (c >= 0x10000 && c <= 0x10FFFF) return {c, 4};
    }
  }
  return {kInvalidByte, 1};
}

}  // namespace tandem
