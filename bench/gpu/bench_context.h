// What the parts of the GPU bench share: the device, the shapes, timing, and where rows go.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/gpu/report.h"
#include "core/bf16.h"
#include "core/model_shape.h"
#include "gpu_attention/cuda/runtime.h"

namespace tandem::TANDEM_GPU {

class BenchContext {
 public:
  using Report = std::function<void(const GpuBenchRow&)>;
  // `quick`: tiny shapes and few runs, to see that everything works; for the emulation.
  static absl::StatusOr<BenchContext> Create(bool quick, Report report);

  const DeviceProperties& device() const { return device_; }
  Stream& stream() { return stream_; }
  bool quick() const { return quick_; }
  // Kimi K2.6's, or of the same build and tiny.
  const ModelShape& shape() const { return shape_; }
  void Add(const GpuBenchRow& row) const { report_(row); }
  // Adds what a measurement returned; its error.
  absl::Status Add(const absl::StatusOr<GpuBenchRow>& row) const {
    if (row.ok()) report_(*row);
    return row.status();
  }

  // `full`, or `tiny` when quick.
  template <class T>
  T Pick(T full, T tiny) const {
    return quick_ ? tiny : full;
  }
  // How many copies of something of that size to rotate through, so that none is found in the L2
  // cache again.
  int ColdCopies(double bytes) const;

  // Records put(stream, i), i in [0, repeats), as one graph, runs that a few times and fills in the
  // row's times, per call. Starting a kernel then costs what it costs in a decode step.
  absl::StatusOr<GpuBenchRow> Measure(int repeats, const std::function<void(Stream&, int)>& put,
                                      GpuBenchRow row);
  // The same for what `run` does once: it puts work into the stream and may wait for it. The time
  // of one run is divided by `calls`. `meanwhile` is called again and again while the work runs.
  absl::StatusOr<GpuBenchRow> MeasureRuns(int calls, const std::function<absl::Status()>& run,
                                          GpuBenchRow row,
                                          const std::function<void()>& meanwhile = {});
  // Measure(), MeasureRuns() and Add().
  absl::Status Time(int repeats, const std::function<void(Stream&, int)>& put, GpuBenchRow row) {
    return Add(Measure(repeats, put, std::move(row)));
  }
  absl::Status TimeRuns(int calls, const std::function<absl::Status()>& run, GpuBenchRow row) {
    return Add(MeasureRuns(calls, run, std::move(row)));
  }

  // Random BF16 numbers in [-scale, scale). `count` is rounded up to a multiple of 8.
  absl::StatusOr<DeviceBuffer> Random(int64_t count, float scale = 1);
  absl::StatusOr<DeviceBuffer> RandomFloats(int64_t count, float scale = 1);
  template <class T>
  absl::StatusOr<DeviceBuffer> Upload(const std::vector<T>& values) {
    TANDEM_ASSIGN_OR_RETURN(DeviceBuffer buffer,
                            DeviceBuffer::Allocate(values.size() * sizeof(T), "a list"));
    stream_.CopyToDevice(buffer.as<T>(), values.data(), static_cast<int64_t>(values.size()));
    TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
    return buffer;
  }
  template <class T>
  static absl::StatusOr<DeviceBuffer> Room(int64_t count) {
    return DeviceBuffer::Allocate(count * sizeof(T), "room for a result");
  }

 private:
  BenchContext(Stream stream, bool quick, Report report)
      : stream_(std::move(stream)), quick_(quick), report_(std::move(report)) {}

  Stream stream_;
  DeviceProperties device_;
  bool quick_;
  ModelShape shape_;
  Report report_;
  uint32_t seed_ = 1;
};

// Median, lowest and highest of some times, in microseconds, into the row.
void SetTimes(std::vector<double> us, GpuBenchRow& row);

}  // namespace tandem::TANDEM_GPU
