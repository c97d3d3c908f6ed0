// Applies packed weights to rows. The value of an output depends on its own input row only: the
// same bits for any number of rows, workers and for any instruction set.
#pragma once

#include "core/tensor.h"
#include "core/worker_team.h"
#include "gpu_attention/host/activations.h"
#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/packed_matrix.h"

namespace tandem {

// y[t, r] = sum_k w[index][r, k] * in[t, k] for panels [first_panel, first_panel + n_panels), on
// the calling thread. y points at output row 0 and has room for padded_rows().
void LinearPanelRange(const DenseKernels& kernels, const PackedMatrix& w, int32_t index,
                      int32_t first_panel, int32_t n_panels, const LinearInput& in, float* y,
                      int64_t y_stride);

// All rows of matrix 0, spread over the team. y [tokens, padded_rows()]
void Linear(const DenseKernels& kernels, const PackedMatrix& w, const LinearInput& in,
            WorkerTeam& team, View<float, 2> y);

}  // namespace tandem
