#include "engine/hot_set.h"

#include "absl/strings/str_cat.h"

namespace tandem {

HotExperts SpreadHotExperts(const ModelShape& shape, double fraction) {
  TANDEM_CHECK(fraction >= 0 && fraction <= 1, "a fraction of the experts");
  HotExperts hot(shape.layers);
  const auto count = static_cast<int32_t>(fraction * shape.experts);
  for (int32_t l = 0; l < shape.layers; ++l) {
    if (!shape.is_moe(l)) continue;
    for (int32_t i = 0; i < count; ++i)
      hot[l].push_back({static_cast<int32_t>(int64_t{i} * shape.experts / count)});
  }
  return hot;
}

HotExperts ChooseHotExperts(const ModelShape& shape, const DeviceOptions& options) {
  return options.hot_experts.empty() ? SpreadHotExperts(shape, options.hot_fraction)
                                     : options.hot_experts;
}

int64_t CountExperts(const HotExperts& hot) {
  int64_t count = 0;
  for (const auto& layer : hot) count += std::ssize(layer);
  return count;
}

absl::Status HotSet::Send(LayerId layer, ExpertId expert, const ExpertId* instead_of) {
  const int32_t id = expert.value;
  TANDEM_RETURN_IF_ERROR(experts_.EnsureVerified(layer, View<const int32_t, 2>(&id, {1, 1})));
  TANDEM_RETURN_IF_ERROR(
      device_.MakeHot(layer, expert, experts_.Shards(layer, expert), instead_of));
  if (leave_ram_) experts_.Release(layer, expert);
  return absl::OkStatus();
}

absl::Status HotSet::Add(LayerId layer, const std::vector<ExpertId>& experts) {
  for (const ExpertId expert : experts) TANDEM_RETURN_IF_ERROR(Send(layer, expert, nullptr));
  return absl::OkStatus();
}

absl::Status HotSet::Check(LayerId layer, ExpertId out, ExpertId in) const {
  const auto exists = [&](ExpertId e) { return e.value >= 0 && e.value < shape_.experts; };
  if (layer.value < 0 || layer.value >= shape_.layers || !shape_.is_moe(layer.value) ||
      !exists(out) || !exists(in) || !device_.IsHot(layer, out) || device_.IsHot(layer, in)) {
    return absl::InvalidArgumentError(absl::StrCat("layer ", layer.value, ": expert ", in.value,
                                                   " cannot take the place of ", out.value,
                                                   ": the first must be cold, the second hot"));
  }
  for (const HotReplacement& other : under_way_) {
    if (other.layer != layer) continue;
    for (const ExpertId e : {out, in}) {
      if (e == other.out || e == other.in)
        return absl::InvalidArgumentError(absl::StrCat("layer ", layer.value, ": expert ", e.value,
                                                       " is part of an exchange under way"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::span<std::byte>> HotSet::MemoryOf(LayerId layer, ExpertId expert) {
  std::vector<std::span<std::byte>> memory;
  for (int s = 0; s < experts_.n_shards(); ++s)
    memory.push_back(experts_.ShardMemory(layer, expert, s));
  return memory;
}

absl::Status HotSet::Replace(LayerId layer, ExpertId out, ExpertId in) {
  TANDEM_RETURN_IF_ERROR(Check(layer, out, in));
  if (!experts_.IsLoaded(layer, out)) {
    TANDEM_RETURN_IF_ERROR(device_.ReadHot(layer, out, MemoryOf(layer, out)));
    experts_.SetLoaded(layer, out);
  }
  return Send(layer, in, &out);
}

// The checksum of an expert that steps have used was looked at before, so this takes no time.
absl::Status HotSet::BeginReplace(const HotReplacement& what) {
  TANDEM_RETURN_IF_ERROR(Check(what.layer, what.out, what.in));
  const int32_t id = what.in.value;
  TANDEM_RETURN_IF_ERROR(experts_.EnsureVerified(what.layer, View<const int32_t, 2>(&id, {1, 1})));
  std::vector<std::span<std::byte>> read_back;
  if (!experts_.IsLoaded(what.layer, what.out)) read_back = MemoryOf(what.layer, what.out);
  TANDEM_RETURN_IF_ERROR(
      device_.BeginReplace(what, experts_.Shards(what.layer, what.in), read_back));
  under_way_.push_back(what);
  return absl::OkStatus();
}

std::vector<FinishedReplacement> HotSet::FinishReplaces() {
  std::vector<FinishedReplacement> finished = device_.FinishReplaces();
  for (const auto& [what, status, seconds] : finished) {
    std::erase(under_way_, what);
    if (!status.ok()) continue;
    if (!experts_.IsLoaded(what.layer, what.out)) experts_.SetLoaded(what.layer, what.out);
    if (leave_ram_) experts_.Release(what.layer, what.in);
  }
  return finished;
}

}  // namespace tandem
