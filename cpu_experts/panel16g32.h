// Packs INT4 expert weights into panel16g32 (core/panel16g32.h) and back.
#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/panel16g32.h"
#include "core/tensor.h"
#include "cpu_experts/experts.h"

namespace tandem {

// Packs rows [16 * panel, 16 * panel + 16) of `matrix`; rows past its end become zeros.
// `out` holds PanelBytes(inputs) bytes and is 16-byte aligned. Thread-safe.
void PackPanel(const Int4Matrix& matrix, int64_t panel, uint8_t* out);

// Inverse of PackPanel: writes the panel's rows that exist into packed [out, in / 2] and scales
// [out, in / 32].
void UnpackPanel(const uint8_t* panel_bytes, int64_t panel, View<uint8_t, 2> packed,
                 View<bf16, 2> scales);

// A whole expert into its block of layout.bytes() bytes. REQUIRES: shapes agree with the layout.
void PackExpert(const ExpertLayout& layout, const ExpertWeights& weights, uint8_t* out);

}  // namespace tandem
