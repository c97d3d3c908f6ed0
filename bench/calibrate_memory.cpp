#include "bench/calibrate_memory.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/calibration_samples.h"
#include "core/direct_file.h"
#include "core/memory.h"
#include "core/topology.h"

namespace tandem {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr int kReaders = 8;

// Cores of one node, memory of another: what CpuExperts takes for one node.
absl::StatusOr<double> ReadRate(const CpuNode& cores, const CpuNode& memory,
                                const ModelShape& shape, const ExpertCalibrationOptions& options) {
  CpuTopology topology;
  topology.nodes.push_back({memory.id, cores.cpus});
  WorkerTeam team({.topology = topology});
  const WorkerTeam::Awake awake(team);
  return ExpertReadRate(shape, options, team);
}

}  // namespace

double DispatchSeconds(WorkerTeam& team) {
  constexpr int kJobs = 200;
  Samples samples;
  for (int i = 0; i < 50; ++i) {
    samples.Add(TimeOf([&] {
                  for (int job = 0; job < kJobs; ++job) team.Run([](int) {});
                }) /
                kJobs);
  }
  return samples.Typical();
}

absl::Status CalibrateNodes(const ModelShape& shape, const ExpertCalibrationOptions& options,
                            Machine& machine) {
  const CpuTopology& topology = DetectTopology();
  for (const CpuNode& node : topology.nodes) {
    TANDEM_ASSIGN_OR_RETURN(const double own, ReadRate(node, node, shape, options));
    for (MachineNode& entry : machine.nodes)
      if (entry.os_index == node.id.value) entry.read_gb_per_s = own;
  }
  if (topology.nodes.size() < 2) return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(machine.rates.cross_node_gb_per_s,
                          ReadRate(topology.nodes[0], topology.nodes[1], shape, options));
  return absl::OkStatus();
}

absl::StatusOr<double> DiskReadRate(const std::string& path, double seconds) {
  TANDEM_ASSIGN_OR_RETURN(const DirectFile file, DirectFile::Open(path, /*direct=*/true));
  if (!file.is_direct())
    return absl::FailedPreconditionError(
        absl::StrCat(path, " cannot be read past the page cache, so its disk cannot be timed"));
  std::error_code error;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  const int64_t pieces = error ? 0 : size / kPieceBytes;
  if (pieces < 1)
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", error ? 0 : size,
                                                   " bytes, expected ", kPieceBytes,
                                                   " or more to time the disk"));
  std::atomic<int64_t> next{0}, bytes{0};
  std::mutex mutex;
  absl::Status status;
  const auto begin = CalibrationClock::now();
  const auto read = [&] {
    auto buffer = NumaBuffer::Allocate(kPieceBytes);
    absl::Status failed = buffer.status();
    while (failed.ok() &&
           std::chrono::duration<double>(CalibrationClock::now() - begin).count() < seconds) {
      const int64_t piece = next++;
      if (piece >= pieces) break;
      failed = file.ReadAt(piece * kPieceBytes, {buffer->data(), kPieceBytes});
      bytes += kPieceBytes;
    }
    std::lock_guard lock(mutex);
    status.Update(failed);
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) readers.emplace_back(read);
  for (std::thread& reader : readers) reader.join();
  TANDEM_RETURN_IF_ERROR(status);
  return static_cast<double>(bytes) * 1e-9 / SecondsSince(begin);
}

}  // namespace tandem
