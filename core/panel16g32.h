// panel16g32: how INT4 expert weights lie in RAM, on disk and on the GPU. DO NOT CHANGE: files hold
// it.
//
// A matrix [out, in] is cut in panels of 16 output rows. A panel is, for each group of 32 inputs, a
// block of 256 nibble bytes; then the scales, 16 BF16 per group; then zeros up to 64 bytes.
// Nibble block: four 64-byte lines i = 0..3. Byte 4r+t of line i holds input 4i+t of row r in its
// low nibble and input 16+4i+t in its high nibble, both as value + 8.
//
// One expert is one contiguous block, in the order in which a token reads it:
//   gate panel 0, up panel 0, gate panel 1, up panel 1, ...; down panel 0, down panel 1, ...
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

constexpr int64_t kPanelRows = 16;
constexpr int64_t kGroupInputs = 32;
constexpr int64_t kGroupBytes = kPanelRows * kGroupInputs / 2;   // nibbles of one group
constexpr int64_t kGroupScaleBytes = kPanelRows * sizeof(bf16);  // its scales
constexpr int64_t kPanelAlignment = 64;

// Bytes of one panel over `inputs` inputs (a multiple of 32).
constexpr int64_t PanelBytes(int64_t inputs) {
  const int64_t bytes = inputs / kGroupInputs * (kGroupBytes + kGroupScaleBytes);
  return (bytes + kPanelAlignment - 1) / kPanelAlignment * kPanelAlignment;
}
constexpr int64_t PanelCount(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }
// Where a panel's scales begin.
constexpr int64_t PanelScaleOffset(int64_t inputs) { return inputs / kGroupInputs * kGroupBytes; }

// Byte offsets inside one expert's block.
struct ExpertLayout {
  int64_t hidden = 0;        // multiple of 32
  int64_t intermediate = 0;  // multiple of 32

  constexpr int64_t gate_up_panel_bytes() const { return PanelBytes(hidden); }
  constexpr int64_t down_panel_bytes() const { return PanelBytes(intermediate); }
  constexpr int64_t gate_panel(int64_t panel) const { return 2 * panel * gate_up_panel_bytes(); }
  constexpr int64_t up_panel(int64_t panel) const {
    return gate_panel(panel) + gate_up_panel_bytes();
  }
  constexpr int64_t down_panel(int64_t panel) const {
    return gate_panel(PanelCount(intermediate)) + panel * down_panel_bytes();
  }
  constexpr int64_t bytes() const { return down_panel(PanelCount(hidden)); }
};

}  // namespace tandem
