#include "placement/plan.h"

namespace tandem {
namespace {

int64_t Count(const std::vector<std::vector<ExpertId>>& layers) {
  int64_t sum = 0;
  for (const auto& layer : layers) sum += std::ssize(layer);
  return sum;
}

}  // namespace

int64_t Plan::hot_experts() const { return Count(hot); }
int64_t Plan::disk_experts() const { return Count(on_disk); }

}  // namespace tandem
