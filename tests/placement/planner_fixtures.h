// Models, machines and profiles for the planner's tests.
#pragma once

#include <random>

#include "core/model_shape.h"
#include "placement/expert_profile.h"
#include "placement/machine.h"

namespace tandem {

inline ModelShape KimiK26Shape() {
  ModelShape s;
  s.hidden = 7168, s.layers = 61, s.dense_layers = 1, s.dense_intermediate = 18432;
  s.vocab = 163840, s.heads = 64, s.q_lora_rank = 1536, s.kv_lora_rank = 512;
  s.qk_nope_dim = 128, s.qk_rope_dim = 64, s.v_dim = 128, s.max_positions = 262144;
  s.experts = 384, s.top_k = 8, s.expert_intermediate = 2048, s.shared_experts = 1;
  return s;
}

// Nodes alike, rates as told; memory and bandwidth of one node.
inline Machine DescribedMachine(int nodes, int64_t node_bytes, double node_gb_per_s) {
  Machine m;
  m.name = "described";
  m.sockets = nodes, m.cores = 32 * nodes, m.hardware_threads = 64 * nodes;
  for (int i = 0; i < nodes; ++i)
    m.nodes.push_back({i, 32, node_bytes, node_gb_per_s, node_gb_per_s});
  m.memory_bytes = nodes * node_bytes;
  m.rates.source = MachineRates::Source::kSpecified;
  m.rates.expert_gops = 20000, m.rates.dense_gflops = 5000;
  return m;
}

inline GpuSpec H100(int64_t memory_bytes = 80'000'000'000) {
  return {.name = "H100",
          .memory_bytes = memory_bytes,
          .hbm_gb_per_s = 2680,
          .bf16_tflops = 450,
          .int4_tflops = 300,
          .pcie_gb_per_s = 50,
          .pcie_beside_cpu_gb_per_s = 45,
          .handoff_us = 30};
}

}  // namespace tandem
