#include "bench/gpu/bench_context.h"

#include <algorithm>

#include "bench/gpu/bench_kernels.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr double kColdBytes = 512e6;  // ten times the L2 cache of an H100
constexpr int kMostCopies = 256;
constexpr int kWarmUps = 2, kRuns = 7;

ModelShape KimiShape() {
  ModelShape s;
  s.hidden = 7168;
  s.layers = 61;
  s.dense_layers = 1;
  s.dense_intermediate = 18432;
  s.vocab = 163840;
  s.max_positions = 262144;
  s.heads = 64;
  s.q_lora_rank = 1536;
  s.kv_lora_rank = 512;
  s.qk_nope_dim = 128;
  s.qk_rope_dim = 64;
  s.v_dim = 128;
  s.rope_theta = 50000;
  s.experts = 384;
  s.top_k = 8;
  s.expert_intermediate = 2048;
  s.shared_experts = 1;
  s.routed_scaling = 2.827f;
  return s;
}

ModelShape TinyShape() {
  ModelShape s = KimiShape();
  s.hidden = 64;
  s.layers = 3;
  s.dense_intermediate = 64;
  s.vocab = 256;
  s.max_positions = 1024;
  s.heads = 4;
  s.q_lora_rank = 32;
  s.kv_lora_rank = 64;
  s.qk_nope_dim = 32;
  s.qk_rope_dim = 16;
  s.v_dim = 32;
  s.experts = 8;
  s.top_k = 2;
  s.expert_intermediate = 64;
  return s;
}

}  // namespace

absl::StatusOr<BenchContext> BenchContext::Create(bool quick, Report report) {
  TANDEM_ASSIGN_OR_RETURN(const DeviceProperties device, OpenDevice());
  TANDEM_ASSIGN_OR_RETURN(Stream stream, Stream::Create());
  BenchContext context(std::move(stream), quick, std::move(report));
  context.device_ = device;
  context.shape_ = quick ? TinyShape() : KimiShape();
  return context;
}

int BenchContext::ColdCopies(double bytes) const {
  return quick_ ? 2
                : static_cast<int>(std::clamp(kColdBytes / bytes + 1, 2.0, double{kMostCopies}));
}

void SetTimes(std::vector<double> us, GpuBenchRow& row) {
  std::ranges::sort(us);
  row.us = us[us.size() / 2], row.low_us = us.front(), row.high_us = us.back();
}

absl::StatusOr<GpuBenchRow> BenchContext::MeasureRuns(int calls,
                                                      const std::function<absl::Status()>& run,
                                                      GpuBenchRow row,
                                                      const std::function<void()>& meanwhile) {
  TANDEM_ASSIGN_OR_RETURN(Event end, Event::Create());
  TANDEM_ASSIGN_OR_RETURN(Event start, Event::Create());
  std::vector<double> us;
  const int runs = quick_ ? 2 : kRuns;
  for (int i = quick_ ? 0 : -kWarmUps; i < runs; ++i) {
    start.Record(stream_);
    TANDEM_RETURN_IF_ERROR(run());
    end.Record(stream_);
    for (bool done = !meanwhile; !done; done = end.IsDone()) meanwhile();
    TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
    if (i >= 0) us.push_back(1e3 * Event::ElapsedMs(start, end) / calls);
  }
  SetTimes(std::move(us), row);
  return row;
}

absl::StatusOr<GpuBenchRow> BenchContext::Measure(int repeats,
                                                  const std::function<void(Stream&, int)>& put,
                                                  GpuBenchRow row) {
  TANDEM_ASSIGN_OR_RETURN(const Graph graph, Graph::Record(stream_, [&](Stream& stream) {
                            for (int i = 0; i < repeats; ++i) put(stream, i);
                          }));
  return MeasureRuns(
      repeats,
      [&] {
        graph.Launch(stream_);
        return absl::OkStatus();
      },
      std::move(row));
}

absl::StatusOr<DeviceBuffer> BenchContext::Random(int64_t count, float scale) {
  count = (count + 7) / 8 * 8;
  TANDEM_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                          DeviceBuffer::Allocate(count * sizeof(bf16), "random numbers"));
  FillRandom(stream_, {.count = count, .scale = scale, .seed = ++seed_, .out = buffer.as<bf16>()});
  TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
  return buffer;
}

absl::StatusOr<DeviceBuffer> BenchContext::RandomFloats(int64_t count, float scale) {
  TANDEM_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                          DeviceBuffer::Allocate(count * sizeof(float), "random numbers"));
  FillRandomFloats(stream_,
                   {.count = count, .scale = scale, .seed = ++seed_, .out = buffer.as<float>()});
  TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
  return buffer;
}

}  // namespace tandem::TANDEM_GPU
