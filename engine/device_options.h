// What computes the dense side, and how it shares the experts with the CPU.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/ids.h"
#include "engine/expert_split.h"
#include "engine/micro_batches.h"
#include "placement/expert_adapter.h"

namespace tandem {

using HotExperts = std::vector<std::vector<ExpertId>>;  // [layers]

enum class Device {
  kAuto,      // an NVIDIA GPU if this build and this machine have one, else the CPU
  kCpu,       //
  kCuda,      //
  kEmulated,  // the CUDA sources on the CPU: for tests
};

// Whether the hot experts follow what decoding uses (engine/hot_adaptation.h).
enum class AdaptMode {
  kOff,
  kSuggest,  // only logs what would be exchanged and what that would save
  kOn,
};

struct DeviceOptions {
  Device device = Device::kAuto;
  bool allow_emulated = false;         // without it kEmulated is refused
  int64_t memory_bytes = 0;            // of the GPU, to use in all; 0: what is free but 2 GiB
  double hot_fraction = 0;             // of every layer's experts, to be kept on the GPU; 0 to 1
  HotExperts hot_experts;              // instead, these: a plan's choice
  bool hot_experts_leave_ram = false;  // and not in RAM as well
  AdaptMode adapt = AdaptMode::kOff;
  // cpu_expert_s and send_expert_s: 0 for what is known of the machine.
  AdapterOptions adapter = {.cpu_expert_s = 0, .send_expert_s = 0};
  StreamExperts stream = StreamExperts::kAuto;
  int64_t stream_buffer_bytes = int64_t{1} << 30;  // of GPU memory, for streamed experts; 0: none
  MicroBatches micro_batches = MicroBatches::kAuto;
  bool graphs = true;  // decode steps are recorded and launched as a whole
  std::chrono::nanoseconds timeout = std::chrono::seconds(30);  // one side waiting for the other
};

}  // namespace tandem
