// Command-line flags that every command with an engine shares.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/engine.h"
#include "tools/start_plan.h"

namespace tandem {

struct EngineFlags {
  std::string model;
  std::string dense_dtype = "bf16";
  std::string expert_activations = "int8";
  std::string kernel;
  std::string experts_memory = "auto";
  std::string verify_experts = "lazy";
  std::string device = "auto";
  bool force_emulated = false;
  double gpu_memory_gib = 0;
  double hot_experts_percent = 0;
  bool hot_experts_leave_ram = false;
  std::string adapt = "off";
  std::string stream_experts = "auto";
  double stream_buffer_gib = 1;
  std::string micro_batches = "auto";
  double gpu_timeout_s = 30;
  int threads = 0;
  int64_t kv_tokens = 0, kv_ram_tokens = 0;
  int max_step_tokens = 512;
  int max_sequences = 64;
  int max_queue = 256;
  bool no_prefix_cache = false;
  double batch_step_ms = 0, batch_idle_step_ms = 0;
  bool quiet = false;
  PlanFlags plan;

  // Whether the command is one that takes the emulated GPU as it is (tests and benches).
  bool takes_emulated = false;

  // Adds MODEL and the flags; `model_required` false leaves MODEL optional (chat --server).
  void AddTo(CLI::App* sub, bool model_required = true);
  EngineOptions ToOptions() const;
  // Besides, --plan and --profile, for commands that start by a plan.
  void AddPlanTo(CLI::App* sub);
  // Besides, --batch-step-ms and --batch-idle-step-ms, for commands whose batch work is beside
  // somebody who waits.
  void AddBatchStepTo(CLI::App* sub);

 private:
  void AddDeviceFlags(CLI::App* sub);
  DeviceOptions ToDeviceOptions() const;
};

}  // namespace tandem
