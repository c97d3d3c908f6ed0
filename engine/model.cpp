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
  TANDEM_ASSIGN_OR_RETURN(model->expert_sums_,
                          NumaBuffer::Allocate(sizeof(float) * max_rows * shape.hidden));
  return model;
}

absl::Status Model::Forward(const StepBatch& batch) {
  const auto rows = static_cast<int64_t>(batch.token_ids.size());
  TANDEM_CHECK(rows > 0 && rows <= max_rows_, "a step has 1 to max_rows rows");
  TraceSpan step("step", rows);
  {
    TraceSpan span("embed", rows);
    dense_->BeginStep(batch);
  }
  for (LayerId layer{0}; layer.value < shape_.layers; ++layer.value) {
    {
      TraceSpan span("attention", layer.value);
      dense_->Attention(layer);
    }
    if (shape_.is_moe(layer.value)) {
      TANDEM_RETURN_IF_ERROR(MoeLayer(layer));
    } else {
      TraceSpan span("dense_mlp", layer.value);
      dense_->DenseMlp(layer);
    }
  }
  return absl::OkStatus();
}

absl::Status Model::MoeLayer(LayerId layer) {
  RoutedTokens routed;
  {
    TraceSpan span("route", layer.value);
    routed = dense_->Route(layer);
  }
  TANDEM_RETURN_IF_ERROR(experts_->EnsureVerified(layer, routed.expert_ids));
  const View<float, 2> sums(expert_sums_.as<float>(), {routed.hidden.dim(0), shape_.hidden});
  {
    TraceSpan span("shared_experts", layer.value);
    dense_->SharedExperts(layer);
  }
  {
    TraceSpan span("cold_experts", layer.value);
    experts_->Forward(layer, routed, sums);
  }
  TraceSpan span("add_experts", layer.value);
  dense_->AddExperts(layer, sums);
  return absl::OkStatus();
}

View<const float, 2> Model::Logits(std::span<const int32_t> rows) {
  TraceSpan span("head", static_cast<int64_t>(rows.size()));
  return dense_->Logits(rows);
}

}  // namespace tandem
