// Routed experts on the CPU: owns their INT4 weights in RAM and computes them where they lie.
//
//   y[t,:] = sum over k: weights[t,k] * down_e( silu(gate_e x_t) * (up_e x_t) ),   e =
//   expert_ids[t,k]
//
// Loading: LoadExpert() may be called from several threads for different experts. Afterwards
// Forward() is called from one thread at a time. The result for a token depends on nothing but that
// token's row: same bits for any batch, any order, any number of workers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/routed_tokens.h"
#include "core/status.h"
#include "core/worker_team.h"

namespace tandem {

// One [out, in] matrix as compressed-tensors stores it (kimi_k26 "pack-quantized", group 32):
// nibble = value + 8, first input in the low nibble; w[o,i] = (nibble - 8) * scales[o, i / 32].
struct Int4Matrix {
  View<const uint8_t, 2> packed;  // [out, in / 2]
  View<const bf16, 2> scales;     // [out, in / 32]
};

struct ExpertWeights {
  Int4Matrix gate;  // [intermediate, hidden]
  Int4Matrix up;    // [intermediate, hidden]
  Int4Matrix down;  // [hidden, intermediate]
};

// How activations enter the integer dot products.
enum class ExpertActivations {
  kInt8,    // one INT8 pass per group of 32
  kInt8x2,  // two INT8 passes, high and low part: about 15 bits, the exact-activation path
};

struct ExpertsShape {
  int32_t hidden = 0;        // multiple of 32
  int32_t intermediate = 0;  // multiple of 32
  int32_t top_k = 0;
  // Experts per layer, indexed by LayerId; 0 for a dense layer.
  std::vector<int32_t> experts;
};

struct CpuExpertsOptions {
  ExpertActivations activations = ExpertActivations::kInt8;
  std::string kernel;        // "" = best for this CPU; else a name of KernelNames(), or an error
  int32_t max_tokens = 512;  // most tokens of one Forward()
};

class CpuExperts {
 public:
  // Reserves memory for all experts, chooses the kernel and checks it against a known answer.
  // Errors: INVALID_ARGUMENT for a shape that the layout cannot hold or a kernel this CPU cannot
  // run; RESOURCE_EXHAUSTED for memory. `team` must outlive the object.
  static absl::StatusOr<std::unique_ptr<CpuExperts>> Create(const ExpertsShape& shape,
                                                            const CpuExpertsOptions& options,
                                                            WorkerTeam& team);
  virtual ~CpuExperts() = default;

  // Repacks one expert into the panel layout. Errors: INVALID_ARGUMENT naming the matrix and shape.
  virtual absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) = 0;

  // Overwrites y. REQUIRES: shapes agree, tokens <= max_tokens, every expert named was loaded.
  virtual void Forward(LayerId layer, const RoutedTokens& in,
                       View<float, 2> y) = 0;  // [tokens, hidden]

  virtual std::string kernel_name() const = 0;  // e.g. "avx512_vnni"
  virtual int64_t weight_bytes() const = 0;     // all layers
  virtual int64_t expert_bytes() const = 0;     // one expert
};

// Kernels compiled in, best first; the ones this CPU can run if `runnable_only`.
std::vector<std::string> KernelNames(bool runnable_only);

}  // namespace tandem
