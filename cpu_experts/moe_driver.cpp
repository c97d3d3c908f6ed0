#include "cpu_experts/moe_driver.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<MoeDriver>> MoeDriver::Create(const MoeDriverShape& shape,
                                                             const KernelTable& table,
                                                             const ModeKernels& kernels,
                                                             WorkerTeam& team) {
  std::unique_ptr<MoeDriver> driver(new MoeDriver(team));
  driver->hidden_ = shape.hidden;
  for (int node = 0; node < team.nodes(); ++node) {
    TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<NodeDriver> part,
                            NodeDriver::Create(shape, table, kernels, team, node));
    driver->nodes_.push_back(std::move(part));
    if (node == 0) continue;
    TANDEM_ASSIGN_OR_RETURN(
        NumaBuffer output,
        NumaBuffer::Allocate(shape.max_tokens * shape.hidden * sizeof(float), team.node_id(node)));
    driver->node_outputs_.push_back(std::move(output));
  }
  return driver;
}

void MoeDriver::Forward(std::span<const std::vector<NodeExpert>> nodes, const RoutedTokens& in,
                        View<float, 2> y) {
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const View<float, 2> output =
        n == 0 ? y : View<float, 2>(node_outputs_[n - 1].as<float>(), {y.dim(0), hidden_});
    nodes_[n]->Begin(nodes[n], in, output);
  }
  team_.Run([this](int worker) { nodes_[team_.seat(worker).node]->Work(worker); });
  if (nodes_.size() > 1) AddNodes(y);
}

// y += node 1, then node 2, ...: always in this order.
void MoeDriver::AddNodes(View<float, 2> y) {
  constexpr int64_t kBlock = 1024;
  const int64_t blocks = (hidden_ + kBlock - 1) / kBlock;
  team_.ParallelFor(y.dim(0) * blocks, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t token = i / blocks, first = i % blocks * kBlock;
      const int64_t last = first + kBlock < hidden_ ? first + kBlock : hidden_;
      float* sum = y.row(token);
      for (const NumaBuffer& output : node_outputs_) {
        const float* part = output.as<float>() + token * hidden_;
        for (int64_t c = first; c < last; ++c) sum[c] += part[c];
      }
    }
  });
}

}  // namespace tandem
