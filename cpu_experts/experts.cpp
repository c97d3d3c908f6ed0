#include "cpu_experts/experts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "cpu_experts/expert_store.h"
#include "cpu_experts/kernel_choice.h"
#include "cpu_experts/moe_driver.h"
#include "cpu_experts/packed_image.h"
#include "cpu_experts/panel16g32.h"
#include "cpu_experts/self_check.h"

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

class PanelExperts final : public CpuExperts {
 public:
  PanelExperts(const ExpertsShape& shape, const CpuExpertsOptions& options,
               const KernelTable& kernel, std::unique_ptr<ExpertStore> store,
               std::unique_ptr<MoeDriver> driver, WorkerTeam& team)
      : shape_(shape),
        max_tokens_(options.max_tokens),
        kernel_(kernel),
        store_(std::move(store)),
        driver_(std::move(driver)),
        team_(team) {}

  absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) override {
    return store_->Load(layer, expert, weights);
  }
  int n_shards() const override { return store_->n_shards(); }
  absl::Status LoadPackedExpert(const PackedLayer& image, ExpertId expert,
                                std::span<const std::byte> packed) override {
    return store_->LoadPacked(image, expert, packed);
  }
  std::span<std::byte> ShardMemory(LayerId layer, ExpertId expert, int shard) override {
    return store_->ShardMemory(layer, expert, shard);
  }
  void SetLoaded(LayerId layer, ExpertId expert) override { store_->SetLoaded(layer, expert); }
  ExpertShards Shards(LayerId layer, ExpertId expert) const override {
    return store_->Shards(layer, expert);
  }
  void Release(LayerId layer, ExpertId expert) override { store_->Release(layer, expert); }
  bool IsLoaded(LayerId layer, ExpertId expert) const override {
    return store_->IsLoaded(layer, expert);
  }
  ExpertShards Memory(LayerId layer) const override { return store_->Memory(layer); }
  absl::Status MapLayer(std::shared_ptr<const PackedLayer> image, bool verified) override {
    return store_->Map(std::move(image), verified);
  }
  absl::Status EnsureVerified(LayerId layer, View<const int32_t, 2> expert_ids) override {
    return store_->EnsureVerified(layer, expert_ids, team_);
  }

  void Forward(LayerId layer, const RoutedTokens& in, View<float, 2> y) override {
    const int64_t tokens = in.hidden.dim(0);
    TANDEM_CHECK(tokens <= max_tokens_, "max_tokens bounds a step");
    TANDEM_CHECK(in.hidden.dim(1) == shape_.hidden && in.hidden.stride(1) == 1,
                 "hidden is [tokens, hidden] with contiguous rows");
    TANDEM_CHECK(in.expert_ids.dim(0) == tokens && in.expert_ids.dim(1) <= shape_.top_k,
                 "expert_ids is [tokens, top_k]");
    TANDEM_CHECK(in.weights.shape() == in.expert_ids.shape(), "one weight per expert id");
    TANDEM_CHECK(y.dim(0) == tokens && y.dim(1) == shape_.hidden && y.stride(1) == 1,
                 "y is [tokens, hidden] with contiguous rows");
    store_->CheckReady(layer, in.expert_ids);
    driver_->Forward(store_->nodes(layer), in, y);
  }

  std::string kernel_name() const override { return kernel_.name; }
  int64_t expert_bytes() const override {
    return ExpertLayout{shape_.hidden, shape_.intermediate}.bytes();
  }
  int64_t weight_bytes() const override { return store_->bytes(); }

 private:
  const ExpertsShape shape_;
  const int64_t max_tokens_;
  const KernelTable& kernel_;
  std::unique_ptr<ExpertStore> store_;
  std::unique_ptr<MoeDriver> driver_;
  WorkerTeam& team_;
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

  MoeDriverShape bounds = {shape.hidden, shape.intermediate, 0, shape.top_k, options.max_tokens};
  for (int32_t n : shape.experts) bounds.max_experts = std::max(bounds.max_experts, n);
  TANDEM_ASSIGN_OR_RETURN(auto store,
                          ExpertStore::Create(shape, options.placements, team, options.reserve));
  TANDEM_ASSIGN_OR_RETURN(
      auto driver, MoeDriver::Create(bounds, *kernel, *kernel->mode(options.activations), team));
  auto experts = std::make_unique<PanelExperts>(shape, options, *kernel, std::move(store),
                                                std::move(driver), team);
  LogInfo("experts: kernel {} (self-check passed), activations {}, {:.2f} GB of weights {}, {}",
          kernel->name, NameOf(options.activations), experts->weight_bytes() * 1e-9,
          options.reserve ? "in memory, huge pages asked for" : "in the mapped image, 4 KiB pages",
          team.Describe());
  return experts;
}

}  // namespace tandem
