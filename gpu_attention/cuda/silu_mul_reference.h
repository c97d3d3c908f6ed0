// What SiluMul is held to (silu_mul.h).
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

// gate_up [rows, in_row], out [rows, width]
void SiluMulReference(const float* gate_up, int64_t rows, int64_t width, int64_t in_row, bf16* out);

}  // namespace tandem
