// What routed experts take: on the CPU, on the GPU, on the way there, from the disk. In seconds.
//
// On the CPU an expert with r rows takes t(r): the machine's curve for experts of this size, which
// was measured on all its nodes, or max(bytes / bandwidth of all nodes, operations / rate) times
// what the cut among the nodes costs (numa_balance.h). A curve is taken to hold for the cut that
// the engine makes by default.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/model_shape.h"
#include "placement/machine.h"
#include "placement/plan.h"
#include "placement/routing_model.h"

namespace tandem {

class ExpertCosts {
 public:
  ExpertCosts(const ModelShape& shape, const Machine& machine, NumaHome home);

  // t(r) in a step of one row, or as a curve has it; 0 for 0 rows.
  double CpuSeconds(double rows) const { return CpuSeconds(rows, PaceOf(1)); }
  // E[t(rows)] of an expert that each of `batch` rows uses with probability p.
  double ExpectedCpuSeconds(double p, int32_t batch) const {
    return BinomialMean(p, batch, PaceOf(batch));
  }
  // The same for all experts, [moe_layers * experts].
  std::vector<double> ExpectedCpuSeconds(const RoutingModel& routing, int32_t batch) const;
  // Of a layer besides its experts: fork, joins.
  double CallSeconds() const { return call_s_; }
  // Whether experts of a step of so many rows wait for memory rather than arithmetic.
  bool MemoryBound(int32_t batch) const;

  // Expected, of an expert that lies on the GPU. REQUIRES: the machine has a GPU.
  double GpuSeconds(double p, int32_t batch) const;
  // One expert's bytes to the GPU, alone or while the CPU computes others.
  double SendSeconds(bool beside_cpu) const { return beside_cpu ? send_beside_s_ : send_s_; }
  double GpuRowSeconds() const { return gpu_row_s_; }
  // Expected, of an expert that only the disk holds: read in every step that uses it.
  double DiskSeconds(double p, int32_t batch) const;

  double bytes() const { return bytes_; }

 private:
  struct Pace {  // of a step: to read one expert, and a row of it
    double read_s = 0, row_s = 0;
  };
  Pace PaceOf(int32_t batch) const;
  double CpuSeconds(double rows, const Pace& pace) const;
  double BinomialMean(double p, int32_t batch, const Pace& pace) const;

  const ModelShape shape_;
  const NumaHome home_;
  double bytes_ = 0, operations_ = 0;  // of one expert; of one row of it
  double read_s_ = 0, row_s_ = 0;      // on the CPU, nodes perfectly balanced
  double call_s_ = 0;
  std::vector<double> node_bandwidth_, node_cores_;  // shares of all nodes
  std::optional<ExpertCurve> curve_;
  double gpu_read_s_ = 0, gpu_row_s_ = 0, send_s_ = 0, send_beside_s_ = 0;
  double disk_s_ = 0;
};

}  // namespace tandem
