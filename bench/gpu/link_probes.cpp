#include "absl/strings/str_cat.h"
#include "bench/gpu/probes.h"
#include "gpu_attention/cuda/hot_pool.h"
#include "gpu_attention/cuda/mailbox.h"

namespace tandem::TANDEM_GPU {

absl::StatusOr<GpuBenchRow> MeasureHandoff(BenchContext& bench, int32_t rows) {
  const ModelShape& s = bench.shape();
  TANDEM_ASSIGN_OR_RETURN(
      Mailbox mailbox,
      Mailbox::Create({.layers = s.layers, .rows = rows, .hidden = s.hidden, .top_k = s.top_k},
                      std::chrono::seconds(5)));
  const int64_t elems = int64_t{rows} * s.hidden;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer h, bench.RandomFloats(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer ids,
                          bench.Upload(std::vector<int32_t>(rows * s.top_k)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer weights,
                          bench.Upload(std::vector<float>(rows * s.top_k)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer step, bench.Room<uint32_t>(1));
  TANDEM_ASSIGN_OR_RETURN(const PinnedBuffer number, PinnedBuffer::Allocate(4, "step"));
  Stream& stream = bench.stream();
  TANDEM_ASSIGN_OR_RETURN(
      const Graph graph, Graph::Record(stream, [&](Stream& recorded) {
        recorded.CopyToDevice(step.as<uint32_t>(), number.host<uint32_t>(), 1);
        for (LayerId layer{0}; layer.value < s.layers; ++layer.value) {
          mailbox.Publish(recorded, layer, 0, rows,
                          {x.as<bf16>(), ids.as<int32_t>(), weights.as<float>()},
                          step.as<uint32_t>());
          mailbox.AddAnswer(recorded, layer, 0, rows, h.as<float>(), nullptr, step.as<uint32_t>());
        }
      }));
  return bench.MeasureRuns(s.layers,
                           [&]() -> absl::Status {
                             mailbox.BeginStep(++*number.host<uint32_t>());
                             graph.Launch(stream);
                             for (LayerId layer{0}; layer.value < s.layers; ++layer.value) {
                               TANDEM_RETURN_IF_ERROR(mailbox.AwaitRows(layer, 0, stream));
                               mailbox.RingAnswered(layer, 0);
                             }
                             TANDEM_RETURN_IF_ERROR(stream.Synchronize());
                             return mailbox.CheckDevice();
                           },
                           {.what = "handoff, per layer",
                            .shape = absl::StrCat(rows, " rows, ", s.layers, " layers in a graph"),
                            .goal_us = 30});
}

absl::StatusOr<GpuBenchRow> MeasureSending(BenchContext& bench, const Sending& what,
                                           const std::function<void()>& meanwhile) {
  const int64_t bytes = what.layout.expert_bytes();
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer to, bench.Room<uint8_t>(2 * bytes));
  const auto send = [&] {
    for (int32_t round = 0; round < what.rounds; ++round)
      for (size_t e = 0; e < what.experts.size(); ++e)
        SendExpert(what.layout, what.experts[e], to.part<uint8_t>(e % 2 * bytes, bytes),
                   bench.stream());
    return absl::OkStatus();
  };
  return bench.MeasureRuns(what.rounds * static_cast<int>(what.experts.size()), send,
                           {.what = "experts over PCIe",
                            .shape = what.shape,
                            .bytes = static_cast<double>(bytes),
                            .on_device = false,
                            .note = what.note},
                           meanwhile);
}

}  // namespace tandem::TANDEM_GPU
