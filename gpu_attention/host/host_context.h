// What every part of the host backend needs: the model's shape, the kernels, the team.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model_shape.h"
#include "core/worker_team.h"
#include "gpu_attention/host/dense_kernels.h"
#include "gpu_attention/host/packed_matrix.h"
#include "gpu_attention/step_batch.h"

namespace tandem {

struct HostContext {
  ModelShape shape;
  const DenseKernels& kernels;
  WorkerTeam& team;
  WeightFormat format;  // of the dense side's matrices
  int32_t max_tokens;
};

// The running step: the batch and what all layers share of it.
struct HostStep {
  std::span<const SequenceSlice> sequences;
  int32_t tokens = 0;
  std::vector<int32_t> positions;     // [tokens]
  std::vector<const int32_t*> pages;  // [tokens], the page table of the token's sequence
  std::vector<float> cos, sin;        // [tokens, qk_rope_dim / 2]
};

}  // namespace tandem
