#include <atomic>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/gpu/parts.h"
#include "bench/gpu/probes.h"
#include "bench/gpu/random_experts.h"
#include "gpu_attention/cuda/expert_streamer.h"
#include "gpu_attention/cuda/hot_pool.h"

namespace tandem::TANDEM_GPU {
namespace {

using Clock = std::chrono::steady_clock;

// The CPU's expert kernels at work on layers from `first` on, as long as the object lives.
class BusyCpu {
 public:
  BusyCpu(const ModelShape& shape, int32_t first, CpuExperts& experts, int32_t tokens)
      : begin_(Clock::now()), thread_([=, this, &experts] {
          const RandomRouting routing(shape, tokens, 1);
          const std::vector<bf16> x(int64_t{tokens} * shape.hidden, ToBf16(0.5f));
          std::vector<float> y(x.size());
          const RoutedTokens routed = {{x.data(), {tokens, shape.hidden}},
                                       {routing.ids.data(), {tokens, shape.top_k}},
                                       {routing.weights.data(), {tokens, shape.top_k}}};
          for (int32_t turn = 0; !stop_; ++turn) {
            const LayerId layer{first + turn % (shape.layers - first)};
            experts.Forward(layer, routed, {y.data(), {tokens, shape.hidden}});
            bytes_ += routing.distinct * experts.expert_bytes();
          }
        }) {}
  ~BusyCpu() {
    if (thread_.joinable()) Stop();
  }
  // GB/s read until now.
  double Stop() {
    stop_ = true;
    thread_.join();
    return static_cast<double>(bytes_) * 1e-9 /
           std::chrono::duration<double>(Clock::now() - begin_).count();
  }

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> bytes_ = 0;
  Clock::time_point begin_;
  std::thread thread_;
};

// Experts of layer 0, page-locked, to the device; the CPU computes the layers behind it.
struct Streaming {
  BenchContext& bench;
  const ModelShape& shape;
  CpuExperts& experts;
  std::string beside;  // what the CPU does meanwhile
  std::string note;

  absl::Status Copies() const {
    const ShardedLayout layout(shape.hidden, shape.expert_intermediate, experts.n_shards());
    std::vector<ExpertShards> all;
    for (int32_t e = 0; e < shape.experts; ++e) all.push_back(experts.Shards({0}, {e}));
    return bench.Add(
        MeasureSending(bench, {.layout = layout, .experts = all, .shape = beside, .note = note}));
  }

  // A prefill layer whose experts all come from RAM: sent and computed, in two buffers by turns.
  absl::Status Layer(int32_t rows) const {
    Stream& stream = bench.stream();
    const ShardedLayout layout(shape.hidden, shape.expert_intermediate, experts.n_shards());
    TANDEM_ASSIGN_OR_RETURN(
        ExpertStreamer streamer,
        ExpertStreamer::Create(
            {.hidden = shape.hidden,
             .top_k = shape.top_k,
             .experts = shape.experts,
             .max_rows = rows,
             .buffer_bytes = bench.Pick<int64_t>(int64_t{1} << 30, 4 * layout.expert_bytes()),
             .layout = layout},
            stream));
    TANDEM_ASSIGN_OR_RETURN(const HotPool pool, HotPool::Create(shape, layout, 0));
    const RandomRouting routing(shape, rows, 7);
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(int64_t{rows} * shape.hidden));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.Room<float>(int64_t{rows} * shape.hidden));
    std::vector<ExpertShards> bytes;
    for (int32_t e = 0; e < shape.experts; ++e) bytes.push_back(experts.Shards({0}, {e}));
    std::vector<ExpertDevice::Work> work;
    for (int32_t e = 0; e < shape.experts; ++e) work.push_back({{e}, &bytes[e]});
    const std::vector<bf16> hidden(int64_t{rows} * shape.hidden);
    const RoutedTokens routed = {{hidden.data(), {rows, shape.hidden}},
                                 {routing.ids.data(), {rows, shape.top_k}},
                                 {routing.weights.data(), {rows, shape.top_k}}};
    return bench.TimeRuns(
        1,
        [&]() -> absl::Status {
          TANDEM_RETURN_IF_ERROR(
              streamer.Compute({0}, routed, work, pool, x.as<bf16>(), y.as<float>()));
          return stream.Synchronize();
        },
        {.what = "streamed prefill layer",
         .shape = absl::StrCat(rows, " rows, ", shape.experts, " experts, ", beside),
         .bytes = static_cast<double>(shape.experts) * layout.expert_bytes(),
         .on_device = false,
         .goal_gb_per_s = 45,
         .note = note});
  }
};

absl::Status StreamExpertLayers(BenchContext& bench) {
  ModelShape shape = bench.shape();
  shape.layers = 3;
  shape.dense_layers = 0;
  shape.experts = bench.Pick(128, 8);
  WorkerTeam team;
  const WorkerTeam::Awake awake(team);
  const int32_t tokens = bench.Pick(8, 2);
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<CpuExperts> experts,
                          RandomExperts(shape, {.max_tokens = tokens}, team));
  std::vector<PinnedRegion> pinned;
  for (const std::span<const std::byte> memory : experts->Memory({0})) {
    TANDEM_ASSIGN_OR_RETURN(PinnedRegion region, PinnedRegion::Pin(memory));
    pinned.push_back(std::move(region));
  }
  const int32_t rows = bench.Pick(2048, 8);
  Streaming alone = {bench, shape, *experts, "CPU idle", ""};
  TANDEM_RETURN_IF_ERROR(alone.Copies());
  TANDEM_RETURN_IF_ERROR(alone.Layer(rows));

  const auto busy_ms = std::chrono::milliseconds(bench.Pick(1000, 10));
  BusyCpu cpu(shape, 1, *experts, tokens);
  std::this_thread::sleep_for(busy_ms);
  const double cpu_alone = cpu.Stop();
  BusyCpu again(shape, 1, *experts, tokens);
  const std::string note = absl::StrFormat("CPU alone reads %.1f GB/s", cpu_alone);
  Streaming beside = {bench, shape, *experts, "CPU at its experts", note};
  const auto begin = Clock::now();
  TANDEM_RETURN_IF_ERROR(beside.Copies());
  TANDEM_RETURN_IF_ERROR(beside.Layer(rows));
  const double spent_us = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
  const double cpu_beside = again.Stop();
  bench.Add({.what = "CPU experts meanwhile",
             .shape = absl::StrCat(tokens, " tokens, ", team.size(), " workers"),
             .us = spent_us,
             .low_us = spent_us,
             .high_us = spent_us,
             .bytes = cpu_beside * spent_us * 1e3,
             .on_device = false,
             .note = note});
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchLink(BenchContext& bench) {
  for (const int32_t rows : bench.Pick<std::vector<int32_t>>({1, 8, 64}, {1, 3}))
    TANDEM_RETURN_IF_ERROR(bench.Add(MeasureHandoff(bench, rows)));
  return StreamExpertLayers(bench);
}

}  // namespace tandem::TANDEM_GPU
