#include "engine/model.h"

#include <algorithm>
#include <chrono>

#include "core/trace.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

std::unique_ptr<Model> Model::Create(const ModelShape& shape, int32_t max_rows,
                                     std::unique_ptr<DenseBackend> dense,
                                     std::unique_ptr<CpuExperts> experts,
                                     const ModelOptions& options) {
  TANDEM_CHECK(shape.moe_layers() == 0 || experts != nullptr, "MoE layers need experts");
  std::unique_ptr<Model> model(new Model(shape, options));
  model->max_rows_ = max_rows;
  model->dense_ = std::move(dense);
  model->experts_ = std::move(experts);
  if (ExpertDevice* device = model->dense_->expert_device(); device != nullptr) {
    model->hot_set_.emplace(shape, *device, *model->experts_, options.hot_experts_leave_ram);
    model->split_.emplace(shape, *device, *model->experts_, options.split);
  }
  return model;
}

absl::Status Model::Forward(const StepBatch& batch) {
  const auto rows = static_cast<int32_t>(batch.token_ids.size());
  TANDEM_CHECK(rows > 0 && rows <= max_rows_, "a step has 1 to max_rows rows");
  TraceSpan step("step", rows);
  const bool decode = std::ranges::all_of(
      batch.sequences, [](const SequenceSlice& slice) { return slice.tokens == 1; });
  layer_clock_.BeginStep();
  TANDEM_RETURN_IF_ERROR(decode && dense_->max_parts() > 1 ? DecodeInParts(batch) : Layers(batch));
  layer_clock_.EndStep(decode ? Phase::kDecode : Phase::kPrefill);
  return absl::OkStatus();
}

absl::Status Model::DecodeInParts(const StepBatch& batch) {
  const auto rows = static_cast<int32_t>(batch.token_ids.size());
  StepBatch in_parts = batch;
  if (tuner_.PartsFor(rows) == 2) in_parts.second_part_row = (rows + 1) / 2;
  const auto begin = Clock::now();
  TANDEM_RETURN_IF_ERROR(Layers(in_parts));
  tuner_.Note(rows, dense_->parts(), Seconds(begin, Clock::now()));
  return absl::OkStatus();
}

absl::Status Model::Layers(const StepBatch& batch) {
  second_part_row_ = batch.second_part_row;
  {
    TraceSpan span("embed", std::ssize(batch.token_ids));
    TANDEM_RETURN_IF_ERROR(dense_->BeginStep(batch));
  }
  // While the experts of one part are computed, the backend is at the other.
  const int parts = dense_->parts();
  for (int part = 0; part < parts; ++part) Start({0}, part);
  for (LayerId layer{0}; layer.value < shape_.layers; ++layer.value) {
    for (int part = 0; part < parts; ++part) {
      if (shape_.is_moe(layer.value)) TANDEM_RETURN_IF_ERROR(Finish(layer, part));
      if (layer.value + 1 < shape_.layers) Start({layer.value + 1}, part);
    }
  }
  return absl::OkStatus();
}

void Model::Start(LayerId layer, int part) {
  {
    TraceSpan span("attention", layer.value);
    dense_->Attention(layer, part);
  }
  if (!shape_.is_moe(layer.value)) {
    TraceSpan span("dense_mlp", layer.value);
    dense_->DenseMlp(layer, part);
    layer_clock_.EndDense(layer);
    return;
  }
  {
    TraceSpan span("route", layer.value);
    dense_->Route(layer, part);
  }
  TraceSpan span("shared_experts", layer.value);
  dense_->SharedExperts(layer, part);
}

absl::Status Model::Finish(LayerId layer, int part) {
  RoutedTokens routed;
  {
    TraceSpan span("await_routed", layer.value);
    TANDEM_ASSIGN_OR_RETURN(routed, dense_->Routed(layer, part));
  }
  if (observer_ != nullptr) {
    observer_->Routed(layer, part == 0 ? 0 : second_part_row_, routed.expert_ids, routed.weights);
  }
  TANDEM_RETURN_IF_ERROR(experts_->EnsureVerified(layer, routed.expert_ids));
  if (split_) {
    TANDEM_ASSIGN_OR_RETURN(routed, split_->Split(layer, part, routed));
  }
  {
    TraceSpan span("cold_experts", layer.value);
    layer_clock_.EndDense(layer);
    const auto begin = Clock::now();
    experts_->Forward(layer, routed, dense_->ExpertSums(part));
    if (split_) split_->NoteCpuSeconds(Seconds(begin, Clock::now()));
    layer_clock_.EndExperts(layer);
  }
  TraceSpan span("add_experts", layer.value);
  dense_->AddExperts(layer, part);
  layer_clock_.EndDense(layer);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SampledToken>> Model::Sample(std::span<const int32_t> rows,
                                                        std::span<const RowSampling> how) {
  TraceSpan span("head, sample", static_cast<int64_t>(rows.size()));
  return dense_->Sample(rows, how);
}

absl::Status Model::ReplaceHotExpert(LayerId layer, ExpertId out, ExpertId in) {
  if (!hot_set_) return absl::InvalidArgumentError("no device holds experts");
  return hot_set_->Replace(layer, out, in);
}

absl::StatusOr<View<const float, 2>> Model::Logits(std::span<const int32_t> rows) {
  TraceSpan span("head", static_cast<int64_t>(rows.size()));
  return dense_->Logits(rows);
}

}  // namespace tandem
