#include "engine/checkpoint/model_loader.h"

#include <algorithm>

#include "core/log.h"
#include "engine/checkpoint/parallel.h"
#include "engine/checkpoint/weight_reader.h"

namespace tandem {
namespace {

absl::Status LoadOneExpert(const WeightReader& reader, LayerId layer, ExpertId expert,
                           CpuExperts& experts, Meter& meter) {
  TANDEM_ASSIGN_OR_RETURN(const Loaded<ExpertWeights> loaded, reader.Expert(layer, expert));
  TANDEM_RETURN_IF_ERROR(experts.LoadExpert(layer, expert, loaded.weights));
  loaded.DropSources();
  meter.Add(loaded.source_bytes());
  return absl::OkStatus();
}

// Each worker faults in, packs and drops an expert of its own while the disk fetches later ones.
absl::Status LoadExperts(const WeightReader& reader, LayerId layer, int32_t n_experts,
                         CpuExperts& experts, WorkerTeam& team, Meter& meter) {
  const int32_t ahead = 2 * team.size();
  for (int32_t e = 0; e < std::min(ahead, n_experts); ++e) reader.PrefetchExpert(layer, {e});
  FirstError error;
  team.ParallelFor(n_experts, 1, [&](int64_t begin, int64_t end, int) {
    for (auto e = static_cast<int32_t>(begin); e < end && error.ok(); ++e) {
      if (e + ahead < n_experts) reader.PrefetchExpert(layer, {e + ahead});
      error.Keep(LoadOneExpert(reader, layer, {e}, experts, meter));
    }
  });
  return error.Take();
}

absl::Status LoadDense(const WeightReader& reader, LayerId layer, DenseBackend& dense,
                       Meter& meter) {
  TANDEM_ASSIGN_OR_RETURN(const Loaded<LayerWeights> loaded, reader.Layer(layer));
  TANDEM_RETURN_IF_ERROR(dense.LoadLayer(layer, loaded.weights));
  loaded.DropSources();
  meter.Add(loaded.source_bytes());
  return absl::OkStatus();
}

absl::Status LoadGlobals(const WeightReader& reader, DenseBackend& dense, Meter& meter) {
  TANDEM_ASSIGN_OR_RETURN(const Loaded<GlobalWeights> loaded, reader.Globals());
  TANDEM_RETURN_IF_ERROR(dense.LoadGlobals(loaded.weights));
  loaded.DropSources();
  meter.Add(loaded.source_bytes());
  return absl::OkStatus();
}

void LogWhatIsSpecial(const Checkpoint& checkpoint, const WeightReader& reader,
                      int64_t needed_bytes) {
  if (reader.quantizes_experts()) {
    LogInfo(
        "{}: the experts are not INT4; they are quantised on load (groups of 32, "
        "scale = absmax / 7.5)",
        checkpoint.dir());
  }
  if (needed_bytes < checkpoint.total_bytes()) {
    LogInfo("{}: {} of {} are not used (vision tower, prediction layers or the like)",
            checkpoint.dir(), BytesText(checkpoint.total_bytes() - needed_bytes),
            BytesText(checkpoint.total_bytes()));
  }
}

}  // namespace

ExpertsShape ExpertsShapeOf(const ModelShape& shape) {
  ExpertsShape experts;
  experts.hidden = shape.hidden;
  experts.intermediate = shape.expert_intermediate;
  experts.top_k = shape.top_k;
  for (int32_t l = 0; l < shape.layers; ++l) {
    experts.experts.push_back(shape.is_moe(l) ? shape.experts : 0);
  }
  return experts;
}

absl::Status LoadModel(const Checkpoint& checkpoint, DenseBackend* dense, CpuExperts* experts,
                       WorkerTeam& team, const LoadOptions& options) {
  const WeightReader reader(checkpoint);
  TANDEM_ASSIGN_OR_RETURN(const WeightReader::Sizes sizes, reader.CheckComplete());
  bool maps = false;
  if (experts != nullptr) {
    TANDEM_ASSIGN_OR_RETURN(maps,
                            MapsExperts(checkpoint, options.experts.memory, experts->n_shards()));
  }
  LogWhatIsSpecial(checkpoint, reader, sizes.dense_bytes + sizes.expert_bytes);
  Meter meter(
      (dense != nullptr ? sizes.dense_bytes : 0) + (experts != nullptr ? sizes.expert_bytes : 0),
      options.progress);
  const auto load_experts = [&](int32_t layer) {
    if (checkpoint.packed() == nullptr) {
      return LoadExperts(reader, {layer}, checkpoint.config().shape.experts, *experts, team, meter);
    }
    const VerifyExperts verify = options.experts.verify;
    return maps ? MapPackedLayer(checkpoint.packed_layer(layer), verify, *experts, team, meter)
                : CopyPackedLayer(*checkpoint.packed_layer(layer), verify, *experts, team, meter);
  };
  if (dense != nullptr) TANDEM_RETURN_IF_ERROR(LoadGlobals(reader, *dense, meter));
  const ModelShape& shape = checkpoint.config().shape;
  for (int32_t l = 0; l < shape.layers; ++l) {
    if (dense != nullptr) {
      if (l + 1 < shape.layers) reader.PrefetchLayer({l + 1});
      TANDEM_RETURN_IF_ERROR(LoadDense(reader, {l}, *dense, meter));
    }
    if (experts != nullptr && shape.is_moe(l)) TANDEM_RETURN_IF_ERROR(load_experts(l));
    if (options.after_layer) TANDEM_RETURN_IF_ERROR(options.after_layer({l}));
  }
  return absl::OkStatus();
}

}  // namespace tandem
