#include "engine/create_dense.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/log.h"
#include "engine/hot_set.h"
#include "engine/kv_sizing.h"
#include "gpu_attention/gpu_query.h"
#include "placement/footprint.h"
#include "placement/machine.h"

namespace tandem {
namespace {

// Left free on a GPU: the driver's own, cuBLAS, what the screen needs.
constexpr int64_t kGpuReserveBytes = int64_t{2} << 30;
// The emulated GPU fills its memory when it is taken.
constexpr int64_t kEmulatedMemoryBytes = int64_t{1} << 30;

// How many hot experts can be on their way in at once: one that is being sent, one that waits to
// take effect.
constexpr int32_t kSpareExperts = 2;

int64_t KvPages(const DenseNeeds& needs, int64_t free_bytes) {
  const Footprint footprint = ComputeFootprint(needs.shape, kBf16WeightBytes);
  return ChooseKvPages({.wanted_tokens = needs.kv_tokens,
                        .bytes_per_token = footprint.kv_bytes_per_token,
                        .free_bytes = free_bytes,
                        .max_positions = needs.shape.max_positions,
                        .max_sequences = needs.max_sequences});
}

absl::StatusOr<CreatedDense> CreateOnCpu(const DenseNeeds& needs, WorkerTeam& team) {
  const double weight_bytes = needs.dtype == DenseDType::kInt8 ? 1.0 : kBf16WeightBytes;
  const Footprint footprint = ComputeFootprint(needs.shape, weight_bytes);
  CreatedDense dense;
  dense.kv_pages = KvPages(needs, DetectMachine().available_bytes - footprint.weights_bytes());
  TANDEM_ASSIGN_OR_RETURN(
      dense.backend,
      CreateHostBackend(
          needs.shape,
          {.dtype = needs.dtype, .max_tokens = needs.max_rows, .kv_pages = dense.kv_pages}, team));
  return dense;
}

// Device memory besides the cache, by part.
struct GpuBudget {
  int64_t dense_bytes = 0, hot_bytes = 0, stream_bytes = 0, workspace_bytes = 0;
  int64_t total() const { return dense_bytes + hot_bytes + stream_bytes + workspace_bytes; }
};

GpuBudget BudgetOf(const DenseNeeds& needs, const GpuOptions& gpu) {
  const ModelShape& s = needs.shape;
  const Footprint footprint = ComputeFootprint(s, kBf16WeightBytes);
  return {.dense_bytes = footprint.dense_bytes + footprint.embedding_bytes,
          .hot_bytes = (gpu.hot_experts + gpu.spare_experts) * footprint.expert_bytes,
          .stream_bytes = gpu.stream_buffer_bytes,
          .workspace_bytes = GpuWorkspaceBytes(s, needs.max_rows)};
}

absl::StatusOr<CreatedDense> CreateOnGpu(const DenseNeeds& needs, const DeviceOptions& options,
                                         bool emulated, int64_t free_bytes) {
  const ModelShape& shape = needs.shape;
  const GpuOptions gpu = {
      .graphs = options.graphs,
      .hot_experts = static_cast<int32_t>(CountExperts(ChooseHotExperts(shape, options))),
      .spare_experts = options.adapt == AdaptMode::kOn ? kSpareExperts : 0,
      .expert_shards = std::max(1, needs.expert_shards),
      .stream_buffer_bytes = options.stream == StreamExperts::kNever || needs.expert_shards == 0
                                 ? 0
                                 : options.stream_buffer_bytes,
      .timeout = options.timeout};
  const GpuBudget budget = BudgetOf(needs, gpu);
  const int64_t memory_bytes = options.memory_bytes > 0 ? options.memory_bytes : free_bytes;
  CreatedDense dense;
  dense.kv_pages = KvPages(needs, std::max<int64_t>(0, memory_bytes - budget.total()));
  const Footprint footprint = ComputeFootprint(shape, kBf16WeightBytes);
  const int64_t kv_bytes = dense.kv_pages * kPageTokens * footprint.kv_bytes_per_token;
  if (!emulated && budget.total() + kv_bytes > memory_bytes) {
    constexpr double kGb = 1e-9;
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the GPU has %.1f GB to use, but the dense side takes %.1f, the cache %.1f (%d tokens), "
        "hot "
        "experts %.1f, buffers for streamed experts %.1f, workspace %.1f: lower --kv-tokens, "
        "--hot-experts, --stream-buffer or --max-step-tokens",
        memory_bytes * kGb, budget.dense_bytes * kGb, kv_bytes * kGb, dense.kv_pages * kPageTokens,
        budget.hot_bytes * kGb, budget.stream_bytes * kGb, budget.workspace_bytes * kGb));
  }
  const DenseBackendOptions backend = {
      .dtype = needs.dtype, .max_tokens = needs.max_rows, .kv_pages = dense.kv_pages};
  TANDEM_ASSIGN_OR_RETURN(dense.backend, emulated ? CreateEmulatedBackend(shape, backend, gpu)
                                                  : CreateCudaBackend(shape, backend, gpu));
  return dense;
}

absl::StatusOr<CreatedDense> CreateOnCuda(const DenseNeeds& needs, const DeviceOptions& options) {
  const GpuQuery query = QueryGpus();
  if (!query.built_with_cuda) return CreateCudaBackend(needs.shape, {}, {}).status();
  if (query.gpus.empty()) {
    return absl::UnavailableError(
        absl::StrCat("no NVIDIA GPU was found", query.problem.empty() ? "" : ": ", query.problem));
  }
  const int64_t free_bytes = query.gpus[0].free_bytes - kGpuReserveBytes;
  return CreateOnGpu(needs, options, /*emulated=*/false, free_bytes);
}

absl::Status Check(const DenseNeeds& needs, const DeviceOptions& options) {
  if (!(options.hot_fraction >= 0 && options.hot_fraction <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the fraction of hot experts is ", options.hot_fraction, ", must be 0 to 1"));
  }
  if (options.device == Device::kEmulated && !options.allow_emulated) {
    return absl::InvalidArgumentError(
        "the emulated GPU computes on the CPU, thousands of times slower than either; it is there "
        "for tests (--force-emulated takes it all the same)");
  }
  const bool wants_hot = CountExperts(ChooseHotExperts(needs.shape, options)) > 0;
  if (options.device == Device::kCpu && wants_hot)
    return absl::InvalidArgumentError("hot experts need a GPU");
  if (options.device != Device::kCpu && needs.expert_shards == 0 && wants_hot) {
    return absl::InvalidArgumentError(
        "hot experts need all experts cut alike; this machine's NUMA placement is mixed");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CreatedDense> CreateDense(const DenseNeeds& needs, const DeviceOptions& options,
                                         WorkerTeam& team) {
  TANDEM_RETURN_IF_ERROR(Check(needs, options));
  switch (options.device) {
    case Device::kCpu:
      return CreateOnCpu(needs, team);
    case Device::kCuda:
      return CreateOnCuda(needs, options);
    case Device::kEmulated:
      return CreateOnGpu(needs, options, /*emulated=*/true, kEmulatedMemoryBytes);
    case Device::kAuto:
      break;
  }
  if (QueryGpus().gpus.empty()) return CreateOnCpu(needs, team);
  auto dense = CreateOnCuda(needs, options);
  if (dense.ok()) return dense;
  LogWarning("the GPU is not used: {}", std::string(dense.status().message()));
  return CreateOnCpu(needs, team);
}

}  // namespace tandem
