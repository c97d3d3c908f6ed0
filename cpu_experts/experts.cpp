#include "cpu_experts/experts.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/log.h"
#include "core/memory.h"
#include "cpu_experts/kernel_choice.h"
#include "cpu_experts/moe_driver.h"
#include "cpu_experts/packed_image.h"
#include "cpu_experts/panel16g32.h"
#include "cpu_experts/self_check.h"
#include "cpu_experts/shards.h"

namespace tandem {
namespace {

absl::Status CheckShape(const ExpertsShape& shape, const CpuExpertsOptions& options) {
  if (shape.hidden <= 0 || shape.hidden % 32 != 0 || shape.intermediate <= 0 ||
      shape.intermediate % 32 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("experts need hidden and intermediate sizes that are positive multiples of "
                     "32; got hidden ",
                     shape.hidden, ", intermediate ", shape.intermediate));
  }
  if (shape.top_k < 1 || options.max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("experts need top_k and max_tokens of at least "
                     "1; got ",
                     shape.top_k, " and ", options.max_tokens));
  }
  for (int32_t n : shape.experts) {
    if (n < 0) return absl::InvalidArgumentError("a layer has a negative number of experts");
  }
  return absl::OkStatus();
}

absl::Status CheckMatrix(const char* name, const Int4Matrix& matrix, int64_t rows, int64_t inputs) {
  const View<const uint8_t, 2>& packed = matrix.packed;
  const View<const bf16, 2>& scales = matrix.scales;
  if (packed.dim(0) == rows && packed.dim(1) == inputs / 2 && packed.stride(1) == 1 &&
      scales.dim(0) == rows && scales.dim(1) == inputs / 32 && scales.stride(1) == 1) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "expert matrix %s: expected packed [%d, %d] and scales [%d, %d], got [%d, %d] and [%d, %d]",
      name, rows, inputs / 2, rows, inputs / 32, packed.dim(0), packed.dim(1), scales.dim(0),
      scales.dim(1)));
}

// The weights are asked for lazily, so the system would say yes to anything: look at the RAM first.
absl::Status CheckFits(int64_t weight_bytes) {
  const int64_t ram = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  if (weight_bytes <= ram) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the routed experts take %.1f GB of RAM and this machine has %.1f GB",
                      weight_bytes * 1e-9, ram * 1e-9));
}

// What an expert may be used for.
enum ExpertState : uint8_t { kAbsent, kUnverified, kReady };

struct LayerMemory {
  NumaBuffer owned;                          // empty if mapped
  std::shared_ptr<const PackedLayer> image;  // null unless mapped
  const std::byte* experts = nullptr;        // one every expert_bytes() of the sharded layout
  // [experts]; bytes, not bits: different experts are loaded from different threads.
  std::vector<uint8_t> states;
};

class PanelExperts final : public CpuExperts {
 public:
  PanelExperts(const ExpertsShape& shape, const CpuExpertsOptions& options,
               const KernelTable& kernel, MoeDriver driver, WorkerTeam& team)
      : shape_(shape),
        max_tokens_(options.max_tokens),
        layout_{shape.hidden, shape.intermediate},
        sharded_(shape.hidden, shape.intermediate, 1),
        kernel_(kernel),
        driver_(std::move(driver)),
        team_(team) {}

  absl::Status Reserve(bool reserve) {
    for (int32_t n : shape_.experts) {
      LayerMemory& layer = layers_.emplace_back();
      layer.states.assign(n, kAbsent);
      if (!reserve) continue;
      TANDEM_ASSIGN_OR_RETURN(layer.owned, NumaBuffer::Allocate(n * sharded_.expert_bytes()));
      layer.experts = layer.owned.data();
    }
    return absl::OkStatus();
  }

  absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) override {
    TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
    TANDEM_RETURN_IF_ERROR(CheckMatrix("gate", weights.gate, layout_.intermediate, layout_.hidden));
    TANDEM_RETURN_IF_ERROR(CheckMatrix("up", weights.up, layout_.intermediate, layout_.hidden));
    TANDEM_RETURN_IF_ERROR(CheckMatrix("down", weights.down, layout_.hidden, layout_.intermediate));
    PackExpert(layout_, weights,
               reinterpret_cast<uint8_t*>(ShardMemory(layer, expert, /*shard=*/0).data()));
    SetLoaded(layer, expert);
    return absl::OkStatus();
  }

  int n_shards() const override { return sharded_.n_shards(); }

  absl::Status LoadPackedExpert(const PackedLayer& image, ExpertId expert,
                                std::span<const std::byte> packed) override {
    const LayerId layer{image.info().layer};
    TANDEM_RETURN_IF_ERROR(CheckImage(image));
    TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
    const ShardedLayout& from = image.layout();
    TANDEM_CHECK(static_cast<int64_t>(packed.size()) == from.expert_bytes(), "a whole expert");
    if (from == sharded_) {
      for (int s = 0; s < n_shards(); ++s)
        std::memcpy(ShardMemory(layer, expert, s).data(), packed.data() + from.offset(s),
                    from.block_bytes(s));
      SetLoaded(layer, expert);
      return absl::OkStatus();
    }
    std::vector<const uint8_t*> shards;
    for (int s = 0; s < from.n_shards(); ++s)
      shards.push_back(reinterpret_cast<const uint8_t*>(packed.data()) + from.offset(s));
    for (int s = 0; s < n_shards(); ++s)
      ReshardInto(from, shards, sharded_, s,
                  reinterpret_cast<uint8_t*>(ShardMemory(layer, expert, s).data()));
    SetLoaded(layer, expert);
    return absl::OkStatus();
  }

  std::span<std::byte> ShardMemory(LayerId layer, ExpertId expert, int shard) override {
    TANDEM_CHECK(layers_[layer.value].owned.data() != nullptr, "memory was reserved for the layer");
    return {layers_[layer.value].owned.data() + expert.value * sharded_.expert_bytes() +
                sharded_.offset(shard),
            static_cast<size_t>(sharded_.block_bytes(shard))};
  }

  void SetLoaded(LayerId layer, ExpertId expert) override {
    layers_[layer.value].states[expert.value] = kReady;
  }

  absl::Status MapLayer(std::shared_ptr<const PackedLayer> image, bool verified) override {
    TANDEM_RETURN_IF_ERROR(CheckImage(*image));
    if (!(image->layout() == sharded_)) {
      return absl::InvalidArgumentError(absl::StrCat(image->path(), " has ", image->info().shards,
                                                     " shards per expert, expected ", n_shards(),
                                                     ": it can be copied here, but not mapped"));
    }
    LayerMemory& layer = layers_[image->info().layer];
    layer.owned = NumaBuffer();
    layer.experts = image->expert({0}).data();
    layer.states.assign(layer.states.size(), verified ? kReady : kUnverified);
    layer.image = std::move(image);
    return absl::OkStatus();
  }

  absl::Status EnsureVerified(LayerId id, View<const int32_t, 2> expert_ids) override {
    LayerMemory& layer = layers_[id.value];
    if (layer.image == nullptr) return absl::OkStatus();
    std::vector<int32_t> unverified;
    for (int64_t t = 0; t < expert_ids.dim(0); ++t) {
      for (int64_t k = 0; k < expert_ids.dim(1); ++k) {
        const int32_t expert = expert_ids(t, k);
        if (expert < 0) continue;
        TANDEM_CHECK(expert < static_cast<int32_t>(layer.states.size()), "the expert exists");
        if (layer.states[expert] == kUnverified) unverified.push_back(expert);
      }
    }
    if (unverified.empty()) return absl::OkStatus();
    std::sort(unverified.begin(), unverified.end());
    unverified.erase(std::unique(unverified.begin(), unverified.end()), unverified.end());
    std::vector<absl::Status> found(unverified.size());
    team_.ParallelFor(static_cast<int64_t>(unverified.size()), 1,
                      [&](int64_t begin, int64_t end, int) {
                        for (int64_t i = begin; i < end; ++i)
                          found[i] = layer.image->Verify({unverified[i]});
                      });
    for (size_t i = 0; i < unverified.size(); ++i) {
      TANDEM_RETURN_IF_ERROR(found[i]);
      layer.states[unverified[i]] = kReady;
    }
    return absl::OkStatus();
  }

  void Forward(LayerId layer, const RoutedTokens& in, View<float, 2> y) override {
    const int64_t tokens = in.hidden.dim(0);
    TANDEM_CHECK(layer.value >= 0 && layer.value < static_cast<int>(layers_.size()),
                 "the layer exists");
    TANDEM_CHECK(tokens <= max_tokens_, "max_tokens bounds a step");
    TANDEM_CHECK(in.hidden.dim(1) == layout_.hidden && in.hidden.stride(1) == 1,
                 "hidden is [tokens, hidden] with contiguous rows");
    TANDEM_CHECK(in.expert_ids.dim(0) == tokens && in.expert_ids.dim(1) <= shape_.top_k,
                 "expert_ids is [tokens, top_k]");
    TANDEM_CHECK(in.weights.shape() == in.expert_ids.shape(), "one weight per expert id");
    TANDEM_CHECK(y.dim(0) == tokens && y.dim(1) == layout_.hidden && y.stride(1) == 1,
                 "y is [tokens, hidden] with contiguous rows");
    CheckLoaded(layer, in.expert_ids);
    driver_.Forward(reinterpret_cast<const uint8_t*>(layers_[layer.value].experts),
                    shape_.experts[layer.value], in, y);
  }

  std::string kernel_name() const override { return kernel_.name; }
  int64_t expert_bytes() const override { return layout_.bytes(); }
  int64_t weight_bytes() const override {
    int64_t experts = 0;
    for (int32_t n : shape_.experts) experts += n;
    return experts * layout_.bytes();
  }

 private:
  absl::Status CheckIds(LayerId layer, ExpertId expert) const {
    if (layer.value >= 0 && layer.value < static_cast<int>(layers_.size()) && expert.value >= 0 &&
        expert.value < shape_.experts[layer.value])
      return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("there is no expert ", expert.value, " in layer ", layer.value));
  }

  absl::Status CheckImage(const PackedLayer& image) const {
    const PackedLayerInfo& info = image.info();
    if (info.layer < static_cast<int>(layers_.size()) &&
        info.experts == shape_.experts[info.layer] && info.hidden == layout_.hidden &&
        info.intermediate == layout_.intermediate)
      return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(image.path(), " holds ", info.experts, " experts of ", info.hidden, " x ",
                     info.intermediate, " for layer ", info.layer, ", which this model has not"));
  }

  void CheckLoaded(LayerId layer, View<const int32_t, 2> ids) const {
    const std::vector<uint8_t>& states = layers_[layer.value].states;
    for (int64_t t = 0; t < ids.dim(0); ++t) {
      for (int64_t k = 0; k < ids.dim(1); ++k) {
        const int32_t expert = ids(t, k);
        if (expert < 0) continue;
        TANDEM_CHECK(expert < static_cast<int32_t>(states.size()) && states[expert] == kReady,
                     "every expert named was loaded, and verified if mapped");
      }
    }
  }

  const ExpertsShape shape_;
  const int64_t max_tokens_;
  const ExpertLayout layout_;
  const ShardedLayout sharded_;
  const KernelTable& kernel_;
  MoeDriver driver_;
  WorkerTeam& team_;
  std::vector<LayerMemory> layers_;
};

}  // namespace

absl::Status CpuExperts::LoadPackedExpert(const PackedLayer& image, ExpertId,
                                          std::span<const std::byte>) {
  return absl::UnimplementedError(absl::StrCat(image.path(), ": these experts are not packed"));
}

std::span<std::byte> CpuExperts::ShardMemory(LayerId, ExpertId, int) { return {}; }

void CpuExperts::SetLoaded(LayerId, ExpertId) {}

absl::Status CpuExperts::MapLayer(std::shared_ptr<const PackedLayer> image, bool) {
  return absl::UnimplementedError(absl::StrCat(image->path(), ": these experts are not mapped"));
}

absl::Status CpuExperts::EnsureVerified(LayerId, View<const int32_t, 2>) {
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CpuExperts>> CpuExperts::Create(const ExpertsShape& shape,
                                                               const CpuExpertsOptions& options,
                                                               WorkerTeam& team) {
  TANDEM_RETURN_IF_ERROR(CheckShape(shape, options));
  TANDEM_ASSIGN_OR_RETURN(const KernelTable* kernel,
                          ChooseKernel(options.kernel, options.activations));
  TANDEM_RETURN_IF_ERROR(SelfCheck(*kernel));

  MoeDriverShape driver_shape;
  driver_shape.layout = {shape.hidden, shape.intermediate};
  for (int32_t n : shape.experts) driver_shape.max_experts = std::max(driver_shape.max_experts, n);
  driver_shape.top_k = shape.top_k;
  driver_shape.max_tokens = options.max_tokens;
  driver_shape.activations = options.activations;
  driver_shape.expert_stride = ShardedLayout(shape.hidden, shape.intermediate, 1).expert_bytes();
  TANDEM_ASSIGN_OR_RETURN(MoeDriver driver, MoeDriver::Create(driver_shape, *kernel, team));
  auto experts = std::make_unique<PanelExperts>(shape, options, *kernel, std::move(driver), team);
  if (options.reserve) TANDEM_RETURN_IF_ERROR(CheckFits(experts->weight_bytes()));
  TANDEM_RETURN_IF_ERROR(experts->Reserve(options.reserve));
  LogInfo("experts: kernel {}, activations {}, {:.2f} GB of weights, {} workers", kernel->name,
          NameOf(options.activations), experts->weight_bytes() * 1e-9, team.size());
  return experts;
}

}  // namespace tandem
