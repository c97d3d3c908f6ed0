#include "bench/gpu/random_experts.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <string>

#include "cpu_experts/shards.h"

namespace tandem {
namespace {

constexpr int kDifferent = 8;

// One INT4 matrix as a checkpoint holds it.
struct RandomMatrix {
  int64_t rows, inputs;
  std::vector<uint8_t> packed;
  std::vector<bf16> scales;

  RandomMatrix(int64_t rows, int64_t inputs, std::mt19937& random)
      : rows(rows), inputs(inputs), packed(rows * inputs / 2), scales(rows * inputs / 32) {
    for (uint8_t& byte : packed) byte = static_cast<uint8_t>(random() >> 11);
    for (bf16& scale : scales) scale = ToBf16(0.001f + static_cast<float>(random()) * 0x1p-40f);
  }
  Int4Matrix view() const {
    return {{packed.data(), {rows, inputs / 2}}, {scales.data(), {rows, inputs / 32}}};
  }
};

int64_t FirstNumber(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (!name.empty() && word != name) continue;
    int64_t value = 0;
    if (!name.empty()) return file >> value ? value : -1;
    return word == "max" ? -1 : std::stoll(word);
  }
  return -1;
}

}  // namespace

std::vector<uint8_t> RandomExpert(const ShardedLayout& layout, uint32_t seed) {
  std::mt19937 random(seed);
  const int64_t hidden = layout.hidden(), width = layout.intermediate();
  const RandomMatrix gate(width, hidden, random), up(width, hidden, random),
      down(hidden, width, random);
  // PackShards() wants 16-byte alignment, which vectors of this size have.
  std::vector<uint8_t> bytes(layout.expert_bytes());
  PackShards(layout, {gate.view(), up.view(), down.view()}, bytes.data());
  return bytes;
}

absl::StatusOr<std::unique_ptr<CpuExperts>> RandomExperts(const ModelShape& shape,
                                                          const CpuExpertsOptions& options,
                                                          WorkerTeam& team) {
  ExpertsShape experts_shape = {
      .hidden = shape.hidden, .intermediate = shape.expert_intermediate, .top_k = shape.top_k};
  for (int32_t l = 0; l < shape.layers; ++l)
    experts_shape.experts.push_back(shape.is_moe(l) ? shape.experts : 0);
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<CpuExperts> experts,
                          CpuExperts::Create(experts_shape, options, team));
  const ShardedLayout layout(shape.hidden, shape.expert_intermediate, experts->n_shards());
  std::vector<std::vector<uint8_t>> sources(std::min<int32_t>(kDifferent, shape.experts));
  team.ParallelFor(std::ssize(sources), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      sources[i] = RandomExpert(layout, static_cast<uint32_t>(i) + 1);
  });
  team.ParallelFor(
      int64_t{shape.moe_layers()} * shape.experts, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const LayerId layer{shape.dense_layers + static_cast<int32_t>(i / shape.experts)};
          const ExpertId expert{static_cast<int32_t>(i % shape.experts)};
          for (int s = 0; s < layout.n_shards(); ++s) {
            std::memcpy(experts->ShardMemory(layer, expert, s).data(),
                        sources[i % sources.size()].data() + layout.offset(s),
                        layout.block_bytes(s));
          }
          experts->SetLoaded(layer, expert);
        }
      });
  return experts;
}

RandomRouting::RandomRouting(const ModelShape& shape, int32_t tokens, uint32_t seed)
    : weights(int64_t{tokens} * shape.top_k, 1.0f / static_cast<float>(shape.top_k)) {
  std::mt19937 random(seed);
  std::vector<int32_t> all(shape.experts);
  std::iota(all.begin(), all.end(), 0);
  std::vector<bool> used(shape.experts);
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t k = 0; k < shape.top_k; ++k) {
      std::swap(all[k], all[k + random() % (shape.experts - k)]);
      ids.push_back(all[k]);
      if (!used[all[k]]) ++distinct;
      used[all[k]] = true;
    }
  }
}

int64_t FreeHostBytes() {
  const int64_t available_kib = FirstNumber("/proc/meminfo", "MemAvailable:");
  int64_t bytes = available_kib < 0 ? int64_t{8} << 30 : available_kib * 1024;
  const int64_t limit = FirstNumber("/sys/fs/cgroup/memory.max", "");
  const int64_t used = FirstNumber("/sys/fs/cgroup/memory.current", "");
  if (limit > 0 && used >= 0) bytes = std::min(bytes, limit - used);
  return std::max<int64_t>(bytes, 0);
}

}  // namespace tandem
