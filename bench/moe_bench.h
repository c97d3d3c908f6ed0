// Times one MoE layer on cold weights and sets it against the roofline measured in the same run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/roofline.h"
#include "core/status.h"
#include "cpu_experts/experts.h"

namespace tandem {

struct MoeBenchShape {
  std::string name;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t experts = 0;
  int32_t top_k = 0;
};

// "k2.6", "k2", "moonlight", "small"; INVALID_ARGUMENT lists the names.
absl::StatusOr<MoeBenchShape> FindMoeBenchShape(const std::string& name);

struct MoeBenchOptions {
  MoeBenchShape shape;
  std::vector<int32_t> tokens = {1};  // of one step; several are measured on the same weights
  int threads = 0;                    // 0: all physical cores
  std::string topology;  // hwloc synthetic, e.g. "numa:2 core:1 pu:1"; "": this machine's
  ExpertHome placement = ExpertHome::kSharded;  // kWhole: expert e on node e modulo the nodes
  // How often experts are wanted: "" all alike; "zipf:S" for frequencies 1 / rank^S; else a file of
  // one number per expert.
  std::string skew;
  std::string kernel;
  ExpertActivations activations = ExpertActivations::kInt8;
  int runs = 0;  // 0: as many as take about two seconds, at least 5
  uint64_t seed = 1;
};

// Each run routes its tokens anew, at random to top_k distinct experts each, over layers that
// together are much larger than the caches.
struct MoeBenchResult {
  std::string kernel, activations;
  MoeBenchShape shape;
  int32_t tokens = 0;
  double distinct_experts = 0.0;  // mean over runs
  int layers_rotated = 0;
  int threads = 0;
  int nodes = 1;
  std::string skew;
  int runs = 0;
  double median_us = 0.0, min_us = 0.0, max_us = 0.0;
  double gb_per_s = 0.0;  // weight bytes of the distinct experts over time, median
  double gops = 0.0;
  double fraction_of_roofline = 0.0;  // max(bytes / bandwidth, operations / peak) / time, median
  double best_fraction = 0.0;         // the same of the best run: what neighbours leave
  double pack_gb_per_s = 0.0;         // LoadExpert over all threads
  uint64_t output_hash = 0;           // of the first run's y
  Roofline roofline;

  // INT8 operations that the kernel's instructions could do: tiles for amx, else vectors.
  double peak_gops() const;

  std::string ToText() const;
  std::string ToJson() const;
};

// One result per entry of options.tokens, each with the roofline measured around it.
// Errors: what CpuExperts::Create and MeasureRoofline return; INVALID_ARGUMENT for tokens < 1 or a
// skew that cannot be read.
absl::StatusOr<std::vector<MoeBenchResult>> RunMoeBench(const MoeBenchOptions& options);

}  // namespace tandem
