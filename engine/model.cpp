#include "engine/model.h"

#include "core/trace.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const ModelShape& shape, int32_t max_rows,
                                                     std::unique_ptr<DenseBackend> dense,
                                                     std::unique_ptr<CpuExperts> experts) {
  TANDEM_CHECK(shape.moe_layers() == 0 || experts != nullptr, "MoE layers need experts");
  auto model = std::unique_ptr<Model>(new Model);
  model->shape_ = shape;
  model->max_rows_ = max_rows;
  model->dense_ = std::move(dense);
  model->experts_ = std::move(experts);
  return model;
}

absl::Status Model::Forward(const StepBatch& batch) {
  const auto rows = static_cast<int64_t>(batch.token_ids.size());
  TANDEM_CHECK(rows > 0 && rows <= max_rows_, "a step has 1 to max_rows rows");
  TraceSpan step("step", rows);
  {
    TraceSpan span("embed", rows);
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
  TANDEM_RETURN_IF_ERROR(experts_->EnsureVerified(layer, routed.expert_ids));
  {
    TraceSpan span("cold_experts", layer.value);
    experts_->Forward(layer, routed, dense_->ExpertSums(part));
  }
  TraceSpan span("add_experts", layer.value);
  dense_->AddExperts(layer, part);
  return absl::OkStatus();
}

absl::StatusOr<View<const float, 2>> Model::Logits(std::span<const int32_t> rows) {
  TraceSpan span("head", static_cast<int64_t>(rows.size()));
  return dense_->Logits(rows);
}

}  // namespace tandem
