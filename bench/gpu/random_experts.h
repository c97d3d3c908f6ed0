// Routed experts with random weights, made in memory.
#pragma once

#include <memory>
#include <vector>

#include "core/model_shape.h"
#include "core/sharded_layout.h"
#include "cpu_experts/experts.h"

namespace tandem {

// One expert, packed as the layout says.
std::vector<uint8_t> RandomExpert(const ShardedLayout& layout, uint32_t seed);

// `layers` layers of experts of the shape's width (none in the first `dense_layers`). A few
// different ones, repeated. Errors: as CpuExperts::Create().
absl::StatusOr<std::unique_ptr<CpuExperts>> RandomExperts(const ModelShape& shape,
                                                          const CpuExpertsOptions& options,
                                                          WorkerTeam& team);

// `tokens` rows of `top_k` distinct experts each and their weights, other ones for other seeds.
struct RandomRouting {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  int32_t distinct = 0;

  RandomRouting(const ModelShape& shape, int32_t tokens, uint32_t seed);
};

// Memory that this process may still take, by the machine and its container.
int64_t FreeHostBytes();

}  // namespace tandem
