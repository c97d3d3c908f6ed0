// The second half of MlaDecode (mla_decode.h): adds up what the splits of a row have left in
// `partial` and `lse`, and writes `out`.
//   out[r, h, :] = sum_i 2^(lse[i] - max lse) partial[i, :] / sum_i 2^(lse[i] - max lse)
// An empty split has lse = -infinity and no partial; a row of empty splits becomes zeros.
//
// Bytes: 4 * latent per row, split and head, written by the first half moments ago and mostly still
// in L2: 17 MB for 8 rows, 16 splits and 64 heads.
#pragma once

#include "gpu_attention/cuda/mla_decode.h"

namespace tandem::TANDEM_GPU {

void MlaDecodeMerge(Stream& stream, const MlaDecodeArgs& args);

}  // namespace tandem::TANDEM_GPU
