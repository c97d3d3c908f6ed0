// Routed experts on the CPU: owns their INT4 weights in RAM and computes them where they lie.
//
//   y[t,:] = sum over k: weights[t,k] * down_e( silu(gate_e x_t) * (up_e x_t) ),   e =
//   expert_ids[t,k]
//
// Loading: LoadExpert() may be called from several threads for different experts. Afterwards
// Forward() is called from one thread at a time. The result for a token depends on nothing but that
// token's row: same bits for any batch, any order, any number of workers. It does depend on how
// experts lie on NUMA nodes, whose sums are added one node after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/routed_tokens.h"
#include "core/sharded_layout.h"
#include "core/status.h"
#include "core/worker_team.h"
#include "cpu_experts/activation.h"

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

struct ExpertsShape {
  int32_t hidden = 0;        // multiple of 32
  int32_t intermediate = 0;  // multiple of 32
  int32_t top_k = 0;
  // Experts per layer, indexed by LayerId; 0 for a dense layer.
  std::vector<int32_t> experts;
};

// Where the bytes of an expert lie on a team of several NUMA nodes.
enum class ExpertHome : uint8_t {
  kSharded,     // cut along the intermediate dimension, a shard on every node
  kWhole,       // on one node
  kReplicated,  // on every node: a token's replicated experts go to the nodes in turn
};
struct ExpertPlacement {
  ExpertHome home = ExpertHome::kSharded;
  int32_t node = 0;  // kWhole: index of a node of the team
};
// [layers][experts]; empty: every expert is sharded.
using ExpertPlacements = std::vector<std::vector<ExpertPlacement>>;

struct CpuExpertsOptions {
  ExpertActivations activations = ExpertActivations::kInt8;
  std::string kernel;        // "" = best for this CPU; else a name of KernelNames(), or an error
  int32_t max_tokens = 512;  // most tokens of one Forward()
  bool reserve = true;       // false: no memory is taken; every layer comes by MapLayer()
  ExpertPlacements placements = {};
};

class PackedLayer;

class CpuExperts {
 public:
  // Reserves memory for all experts, chooses the kernel and checks it against a known answer.
  // Errors: INVALID_ARGUMENT for a shape that the layout cannot hold, a kernel this CPU cannot run
  // or activations that the kernel does not offer; RESOURCE_EXHAUSTED for memory. `team` must
  // outlive the object.
  static absl::StatusOr<std::unique_ptr<CpuExperts>> Create(const ExpertsShape& shape,
                                                            const CpuExpertsOptions& options,
                                                            WorkerTeam& team);
  virtual ~CpuExperts() = default;

  // Repacks one expert into the panel layout. Errors: INVALID_ARGUMENT naming the matrix and shape.
  virtual absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) = 0;

  // Into how many shards this object cuts an expert (cpu_experts/shards.h): one per node of the
  // team. 0 if not all experts are cut alike; then there is no ShardMemory().
  virtual int n_shards() const { return 1; }
  // Copies one expert out of a packed image, cutting it anew where the image has another number of
  // shards. `packed`: packed.expert(expert) or a copy of it. Thread-safe for different experts.
  virtual absl::Status LoadPackedExpert(const PackedLayer& image, ExpertId expert,
                                        std::span<const std::byte> packed);
  // Memory of one shard, for reading a file right into it: ShardedLayout::block_bytes() long and
  // from a multiple of 4 KiB. The expert may be used after SetLoaded().
  virtual std::span<std::byte> ShardMemory(LayerId layer, ExpertId expert, int shard);
  virtual void SetLoaded(LayerId layer, ExpertId expert);
  // Where an expert's shards lie, e.g. for a GPU to copy. REQUIRES: n_shards() > 0, and that the
  // expert was loaded and, if it is mapped, verified.
  virtual ExpertShards Shards(LayerId layer, ExpertId expert) const { return {}; }
  // Gives up the RAM of an expert that is computed elsewhere. Unless it is mapped from a file it is
  // not loaded any more then; filling ShardMemory() and SetLoaded() bring it back.
  virtual void Release(LayerId layer, ExpertId expert) {}
  virtual bool IsLoaded(LayerId layer, ExpertId expert) const { return true; }
  // All memory that holds a layer.
  virtual ExpertShards Memory(LayerId layer) const { return {}; }
  // Computes a layer straight from the mapped file, without a copy. The memory of this layer is
  // given back. REQUIRES: the image has n_shards() shards. `verified`: all checksums were checked;
  // otherwise EnsureVerified() does it.
  virtual absl::Status MapLayer(std::shared_ptr<const PackedLayer> image, bool verified);
  // Call before Forward(). Checks those of the named experts that come from a mapped image and were
  // never checked. Error: DATA_LOSS naming the file; then Forward() must not be called with these.
  virtual absl::Status EnsureVerified(LayerId layer, View<const int32_t, 2> expert_ids);

  // Overwrites y. REQUIRES: shapes agree, tokens <= max_tokens, every expert named was loaded, and
  // verified if it is mapped.
  virtual void Forward(LayerId layer, const RoutedTokens& in,
                       View<float, 2> y) = 0;  // [tokens, hidden]

  virtual std::string kernel_name() const = 0;  // e.g. "avx512_vnni"
  virtual int64_t weight_bytes() const = 0;     // all layers, all nodes
  virtual int64_t expert_bytes() const = 0;     // one expert
};

// "int8", "int8x2", "bf16"; Parse is the inverse, INVALID_ARGUMENT lists the names.
const char* NameOf(ExpertActivations activations);
absl::StatusOr<ExpertActivations> ParseExpertActivations(const std::string& name);
std::vector<std::string> ExpertActivationsNames();

// Kernels compiled in, best first; the ones this CPU can run if `runnable_only`.
std::vector<std::string> KernelNames(bool runnable_only);

}  // namespace tandem
