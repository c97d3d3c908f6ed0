#include "cpu_experts/panel16g32.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

namespace tandem {
namespace {

// A row of 16 zero weights' worth of one group: nibble 8 is the value 0.
constexpr uint8_t kZeroNibbles = 0x88;

// The 32 nibbles of one row and group, rearranged: byte j = input j | input 16 + j << 4.
__m128i SplitHalves(const uint8_t* row) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
  const __m128i mask = _mm_set1_epi8(0x0f);
  const __m128i even = _mm_and_si128(bytes, mask);
  const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  const __m128i first = _mm_unpacklo_epi8(even, odd);
  const __m128i second = _mm_unpackhi_epi8(even, odd);
  return _mm_or_si128(first, _mm_slli_epi16(second, 4));
}

// Four rows of one group: a 4 x 4 transpose of dwords puts dword i of each row on line i.
void PackFourRows(const uint8_t* row, int64_t stride, uint8_t* out) {
  const __m128i a = SplitHalves(row), b = SplitHalves(row + stride);
  const __m128i c = SplitHalves(row + 2 * stride), d = SplitHalves(row + 3 * stride);
  const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
  const __m128i lines[4] = {_mm_unpacklo_epi64(ab_low, cd_low), _mm_unpackhi_epi64(ab_low, cd_low),
                            _mm_unpacklo_epi64(ab_high, cd_high),
                            _mm_unpackhi_epi64(ab_high, cd_high)};
  for (int i = 0; i < 4; ++i) _mm_store_si128(reinterpret_cast<__m128i*>(out + 64 * i), lines[i]);
}

}  // namespace

void PackPanel(const Int4Matrix& matrix, int64_t panel, uint8_t* out) {
  const int64_t inputs = matrix.packed.dim(1) * 2, groups = inputs / kGroupInputs;
  const int64_t first = panel * kPanelRows;
  const int64_t rows = std::min(kPanelRows, matrix.packed.dim(0) - first);
  uint8_t* scales = out + PanelScaleOffset(inputs);
  std::memset(scales, 0, PanelBytes(inputs) - PanelScaleOffset(inputs));
  auto* scale_out = reinterpret_cast<bf16*>(scales);
  for (int64_t r = 0; r < rows; ++r) {
    const bf16* scale_row = matrix.scales.row(first + r);
    for (int64_t g = 0; g < groups; ++g) scale_out[g * kPanelRows + r] = scale_row[g];
  }

  for (int64_t quad = 0; quad < kPanelRows; quad += 4) {
    if (quad + 4 <= rows) {
      const uint8_t* row = matrix.packed.row(first + quad);
      const int64_t stride = matrix.packed.stride(0);
      for (int64_t g = 0; g < groups; ++g)
        PackFourRows(row + 16 * g, stride, out + kGroupBytes * g + 4 * quad);
      continue;
    }
    for (int64_t g = 0; g < groups; ++g) {  // the ragged end
      uint8_t padded[4][16];
      std::memset(padded, kZeroNibbles, sizeof(padded));
      for (int64_t r = quad; r < rows; ++r)
        std::memcpy(padded[r - quad], matrix.packed.row(first + r) + 16 * g, 16);
      PackFourRows(padded[0], 16, out + kGroupBytes * g + 4 * quad);
    }
  }
}

void UnpackPanel(const uint8_t* panel_bytes, int64_t panel, View<uint8_t, 2> packed,
                 View<bf16, 2> scales) {
  const int64_t inputs = packed.dim(1) * 2, first = panel * kPanelRows;
  const int64_t rows = std::min(kPanelRows, packed.dim(0) - first);
  const auto* scale_in = reinterpret_cast<const bf16*>(panel_bytes + PanelScaleOffset(inputs));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < inputs / kGroupInputs; ++g) {
      scales(first + r, g) = scale_in[g * kPanelRows + r];
      uint8_t values[kGroupInputs];
      for (int64_t j = 0; j < 16; ++j) {
        const uint8_t byte = panel_bytes[g * kGroupBytes + 64 * (j / 4) + 4 * r + j % 4];
        values[j] = byte & 0x0f;
        values[16 + j] = byte >> 4;
      }
      for (int64_t j = 0; j < 16; ++j)
        packed(first + r, 16 * g + j) =
            static_cast<uint8_t>(values[2 * j] | values[2 * j + 1] << 4);
    }
  }
}

void PackExpert(const ExpertLayout& layout, const ExpertWeights& weights, uint8_t* out) {
  for (int64_t p = 0; p < PanelCount(layout.intermediate); ++p) {
    PackPanel(weights.gate, p, out + layout.gate_panel(p));
    PackPanel(weights.up, p, out + layout.up_panel(p));
  }
  for (int64_t p = 0; p < PanelCount(layout.hidden); ++p)
    PackPanel(weights.down, p, out + layout.down_panel(p));
}

}  // namespace tandem
