#include "cpu_experts/expert_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

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

// Memory is asked for lazily, so the system would say yes to anything: look at the RAM first.
absl::Status CheckFits(int64_t weight_bytes) {
  const int64_t ram = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  if (weight_bytes <= ram) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the routed experts take %.1f GB of RAM and this machine has %.1f GB",
                      weight_bytes * 1e-9, ram * 1e-9));
}

template <class Visit>
void ForEachId(View<const int32_t, 2> ids, Visit visit) {
  for (int64_t t = 0; t < ids.dim(0); ++t)
    for (int64_t k = 0; k < ids.dim(1); ++k)
      if (ids(t, k) >= 0) visit(ids(t, k));
}

}  // namespace

ExpertStore::ExpertStore(const ExpertsShape& shape, int nodes)
    : shape_(shape),
      n_nodes_(nodes),
      narrow_(nodes > MaxShards(shape.intermediate)),
      sharded_(shape.hidden, shape.intermediate, narrow_ ? 1 : nodes),
      whole_(shape.hidden, shape.intermediate, 1) {}

absl::StatusOr<std::unique_ptr<ExpertStore>> ExpertStore::Create(const ExpertsShape& shape,
                                                                 const ExpertPlacements& placements,
                                                                 const WorkerTeam& team,
                                                                 bool reserve) {
  std::unique_ptr<ExpertStore> store(new ExpertStore(shape, team.nodes()));
  TANDEM_RETURN_IF_ERROR(store->CheckPlacements(placements));
  for (size_t l = 0; l < shape.experts.size(); ++l)
    TANDEM_RETURN_IF_ERROR(store->AddLayer(placements, static_cast<int>(l), team, reserve));
  if (reserve) TANDEM_RETURN_IF_ERROR(CheckFits(store->bytes_));
  return store;
}

absl::Status ExpertStore::CheckPlacements(const ExpertPlacements& placements) const {
  if (placements.empty()) return absl::OkStatus();
  if (placements.size() != shape_.experts.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a placement of ", placements.size(), " layers for a model of ", shape_.experts.size()));
  }
  for (size_t l = 0; l < placements.size(); ++l) {
    if (static_cast<int32_t>(placements[l].size()) != shape_.experts[l]) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", l, " has ", shape_.experts[l],
                                                     " experts, its placement ",
                                                     placements[l].size()));
    }
    for (const ExpertPlacement& p : placements[l]) {
      if (p.home == ExpertHome::kWhole && (p.node < 0 || p.node >= n_nodes_)) {
        return absl::InvalidArgumentError(
            absl::StrCat("layer ", l, " places an expert on node ", p.node, " of ", n_nodes_));
      }
    }
  }
  return absl::OkStatus();
}

ExpertPlacement ExpertStore::PlacementOf(const ExpertPlacements& placements, int layer,
                                         int expert) const {
  ExpertPlacement placement;
  if (!placements.empty()) placement = placements[layer][expert];
  if (placement.home == ExpertHome::kSharded && narrow_)
    placement = {ExpertHome::kWhole, expert % n_nodes_};
  return placement;
}

// First offsets into each node's memory, then, once that is taken, addresses.
absl::Status ExpertStore::AddLayer(const ExpertPlacements& placements, int index,
                                   const WorkerTeam& team, bool reserve) {
  const int32_t experts = shape_.experts[index];
  Layer& layer = layers_.emplace_back();
  layer.states.assign(experts, kAbsent);
  layer.nodes.assign(n_nodes_, std::vector<NodeExpert>(experts));
  std::vector<int64_t> size(n_nodes_, 0);
  std::vector<std::vector<int64_t>> offsets(n_nodes_, std::vector<int64_t>(experts, -1));
  for (int32_t e = 0; e < experts; ++e) {
    const ExpertPlacement placement = PlacementOf(placements, index, e);
    const bool sharded = placement.home == ExpertHome::kSharded;
    all_sharded_ = all_sharded_ && sharded;
    for (int n = 0; n < n_nodes_; ++n) {
      if (placement.home == ExpertHome::kWhole && placement.node != n) continue;
      const ShardedLayout& cut = sharded ? sharded_ : whole_;
      layer.nodes[n][e].layout = &cut.layout(sharded ? n : 0);
      layer.nodes[n][e].replicated = placement.home == ExpertHome::kReplicated;
      offsets[n][e] = size[n];
      size[n] += cut.block_bytes(sharded ? n : 0);
      bytes_ += cut.layout(sharded ? n : 0).bytes();
    }
  }
  for (int n = 0; n < n_nodes_; ++n) {
    if (!reserve) continue;
    TANDEM_ASSIGN_OR_RETURN(NumaBuffer memory, NumaBuffer::Allocate(size[n], team.node_id(n)));
    for (int32_t e = 0; e < experts; ++e)
      if (offsets[n][e] >= 0) layer.nodes[n][e].block = memory.as<uint8_t>() + offsets[n][e];
    layer.memory.push_back(std::move(memory));
  }
  return absl::OkStatus();
}

absl::Status ExpertStore::CheckIds(LayerId layer, ExpertId expert) const {
  if (layer.value >= 0 && layer.value < static_cast<int>(layers_.size()) && expert.value >= 0 &&
      expert.value < shape_.experts[layer.value])
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("there is no expert ", expert.value, " in layer ", layer.value));
}

absl::Status ExpertStore::CheckImage(const PackedLayer& image) const {
  const PackedLayerInfo& info = image.info();
  if (info.layer < static_cast<int>(layers_.size()) && info.experts == shape_.experts[info.layer] &&
      info.hidden == shape_.hidden && info.intermediate == shape_.intermediate)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(image.path(), " holds ", info.experts, " experts of ", info.hidden, " x ",
                   info.intermediate, " for layer ", info.layer, ", which this model has not"));
}

// How an expert is cut: into one shard per node, or not at all.
const ShardedLayout& ExpertStore::CutOf(LayerId layer, ExpertId expert) const {
  for (const std::vector<NodeExpert>& node : layers_[layer.value].nodes) {
    const NodeExpert& here = node[expert.value];
    if (here.layout != nullptr) return here.layout == &whole_.layout(0) ? whole_ : sharded_;
  }
  return sharded_;
}

template <class Fill>
void ExpertStore::FillBlocks(LayerId layer, ExpertId expert, Fill fill) {
  const bool whole = &CutOf(layer, expert) == &whole_;
  for (int n = 0; n < n_nodes_; ++n) {
    const NodeExpert& here = layers_[layer.value].nodes[n][expert.value];
    if (here.layout == nullptr) continue;
    TANDEM_CHECK(here.block != nullptr, "memory was reserved for the layer");
    fill(whole ? 0 : n, const_cast<uint8_t*>(here.block));
  }
  SetLoaded(layer, expert);
}

absl::Status ExpertStore::Load(LayerId layer, ExpertId expert, const ExpertWeights& weights) {
  TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("gate", weights.gate, shape_.intermediate, shape_.hidden));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("up", weights.up, shape_.intermediate, shape_.hidden));
  TANDEM_RETURN_IF_ERROR(CheckMatrix("down", weights.down, shape_.hidden, shape_.intermediate));
  const ShardedLayout& cut = CutOf(layer, expert);
  FillBlocks(layer, expert, [&](int shard, uint8_t* block) {
    const ExpertWeights part = SliceColumns(weights, cut.begin(shard), cut.begin(shard + 1));
    PackExpert(cut.layout(shard), part, block);
  });
  return absl::OkStatus();
}

absl::Status ExpertStore::LoadPacked(const PackedLayer& image, ExpertId expert,
                                     std::span<const std::byte> packed) {
  const LayerId layer{image.info().layer};
  TANDEM_RETURN_IF_ERROR(CheckImage(image));
  TANDEM_RETURN_IF_ERROR(CheckIds(layer, expert));
  const ShardedLayout& from = image.layout();
  TANDEM_CHECK(static_cast<int64_t>(packed.size()) == from.expert_bytes(), "a whole expert");
  const ShardedLayout& cut = CutOf(layer, expert);
  std::vector<const uint8_t*> shards;
  for (int s = 0; s < from.n_shards(); ++s)
    shards.push_back(reinterpret_cast<const uint8_t*>(packed.data()) + from.offset(s));
  FillBlocks(layer, expert, [&](int shard, uint8_t* block) {
    if (from == cut) {
      std::memcpy(block, shards[shard], cut.block_bytes(shard));
    } else {
      ReshardInto(from, shards, cut, shard, block);
    }
  });
  return absl::OkStatus();
}

std::span<std::byte> ExpertStore::ShardMemory(LayerId layer, ExpertId expert, int shard) const {
  TANDEM_CHECK(all_sharded_, "only cut experts have shards");
  const uint8_t* block = layers_[layer.value].nodes[shard][expert.value].block;
  TANDEM_CHECK(block != nullptr, "memory was reserved for the layer");
  return {reinterpret_cast<std::byte*>(const_cast<uint8_t*>(block)),
          static_cast<size_t>(sharded_.block_bytes(shard))};
}

void ExpertStore::SetLoaded(LayerId layer, ExpertId expert) {
  layers_[layer.value].states[expert.value] = kReady;
}

ExpertShards ExpertStore::Shards(LayerId layer, ExpertId expert) const {
  TANDEM_CHECK(all_sharded_, "only cut experts have shards");
  TANDEM_CHECK(layers_[layer.value].states[expert.value] == kReady,
               "the expert was loaded, and verified if mapped");
  ExpertShards shards;
  for (int s = 0; s < n_shards(); ++s) {
    const uint8_t* block = layers_[layer.value].nodes[s][expert.value].block;
    shards.emplace_back(reinterpret_cast<const std::byte*>(block), sharded_.block_bytes(s));
  }
  return shards;
}

void ExpertStore::Release(LayerId id, ExpertId expert) {
  Layer& layer = layers_[id.value];
  // The page cache is not ours: it keeps what it has room for.
  if (layer.image != nullptr)
    return layer.image->file().Advise(layer.image->expert(expert), /*will_need=*/false);
  layer.states[expert.value] = kAbsent;
  for (int s = 0; s < n_shards(); ++s) DiscardPages(ShardMemory(id, expert, s));
}

ExpertShards ExpertStore::Memory(LayerId id) const {
  const Layer& layer = layers_[id.value];
  if (layer.image != nullptr) return {layer.image->file().bytes()};
  ExpertShards memory;
  for (const NumaBuffer& buffer : layer.memory)
    memory.emplace_back(buffer.data(), buffer.size_bytes());
  return memory;
}

absl::Status ExpertStore::Map(std::shared_ptr<const PackedLayer> image, bool verified) {
  TANDEM_RETURN_IF_ERROR(CheckImage(*image));
  if (!all_sharded_ || !(image->layout() == sharded_)) {
    return absl::InvalidArgumentError(absl::StrCat(image->path(), " has ", image->info().shards,
                                                   " shards per expert, expected ", n_shards(),
                                                   ": it can be copied here, but not mapped"));
  }
  Layer& layer = layers_[image->info().layer];
  layer.memory.clear();
  layer.states.assign(layer.states.size(), verified ? kReady : kUnverified);
  for (int n = 0; n < n_nodes_; ++n) {
    for (int32_t e = 0; e < image->info().experts; ++e)
      layer.nodes[n][e].block = reinterpret_cast<const uint8_t*>(image->shard({e}, n).data());
  }
  layer.image = std::move(image);
  return absl::OkStatus();
}

absl::Status ExpertStore::EnsureVerified(LayerId id, View<const int32_t, 2> expert_ids,
                                         WorkerTeam& team) {
  Layer& layer = layers_[id.value];
  if (layer.image == nullptr) return absl::OkStatus();
  std::vector<int32_t> unverified;
  ForEachId(expert_ids, [&](int32_t expert) {
    TANDEM_CHECK(expert < static_cast<int32_t>(layer.states.size()), "the expert exists");
    if (layer.states[expert] == kUnverified) unverified.push_back(expert);
  });
  if (unverified.empty()) return absl::OkStatus();
  std::sort(unverified.begin(), unverified.end());
  unverified.erase(std::unique(unverified.begin(), unverified.end()), unverified.end());
  std::vector<absl::Status> found(unverified.size());
  team.ParallelFor(static_cast<int64_t>(unverified.size()), 1,
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

void ExpertStore::CheckReady(LayerId layer, View<const int32_t, 2> expert_ids) const {
  TANDEM_CHECK(layer.value >= 0 && layer.value < static_cast<int>(layers_.size()),
               "the layer exists");
  const std::vector<uint8_t>& states = layers_[layer.value].states;
  ForEachId(expert_ids, [&](int32_t expert) {
    TANDEM_CHECK(expert < static_cast<int32_t>(states.size()) && states[expert] == kReady,
                 "every expert named was loaded, and verified if mapped");
  });
}

}  // namespace tandem
