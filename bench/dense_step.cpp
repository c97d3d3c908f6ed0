#include "bench/dense_step.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "bench/calibration_samples.h"
#include "bench/gpu/random_model.h"
#include "engine/step.h"

namespace tandem {
namespace {

// How the pages lie: kMostSequences of context_pages each, then one each for kMostRows sequences
// that begin.
int64_t PagesFor(int32_t context_pages) {
  return int64_t{DenseStep::kMostSequences} * context_pages + DenseStep::kMostRows;
}

absl::Status Load(const RandomModel& weights, const ModelShape& shape, DenseBackend& backend) {
  TANDEM_RETURN_IF_ERROR(backend.LoadGlobals(weights.globals()));
  for (LayerId layer{0}; layer.value < shape.layers; ++layer.value)
    TANDEM_RETURN_IF_ERROR(backend.LoadLayer(layer, weights.layer(layer)));
  return absl::OkStatus();
}

}  // namespace

DenseStep::DenseStep(const ModelShape& shape, WorkerTeam& team)
    : shape_(shape), team_(&team), samplers_(team.size(), Sampler(shape.vocab)), ids_(kMostRows) {
  std::mt19937 random(1);
  for (int32_t& id : ids_) id = static_cast<int32_t>(random() % shape.vocab);
}

absl::StatusOr<DenseStep> DenseStep::Create(const ModelShape& shape, int32_t weight_bits,
                                            int32_t context, WorkerTeam& team) {
  DenseStep step(shape, team);
  step.context_pages_ = (context + kMostRows) / kPageTokens + 1;
  step.pages_.resize(PagesFor(step.context_pages_));
  std::iota(step.pages_.begin(), step.pages_.end(), 0);
  TANDEM_ASSIGN_OR_RETURN(
      step.backend_,
      CreateHostBackend(shape,
                        {.dtype = weight_bits == 8 ? DenseDType::kInt8 : DenseDType::kBf16,
                         .max_tokens = kMostRows,
                         .kv_pages = static_cast<int64_t>(step.pages_.size())},
                        team));
  TANDEM_ASSIGN_OR_RETURN(const RandomModel weights, RandomModel::Create(shape, team));
  TANDEM_RETURN_IF_ERROR(Load(weights, shape, *step.backend_));
  TANDEM_RETURN_IF_ERROR(step.FillCache());
  return step;
}

// Latents as a model makes them: one page is computed, all others are copies, in memory of their
// own.
absl::Status DenseStep::FillCache() {
  TANDEM_RETURN_IF_ERROR(Prefill(kPageTokens, 0).status());
  for (const int32_t page : pages_)
    if (page != 0) backend_->CopyPage(0, page);
  return absl::OkStatus();
}

absl::StatusOr<double> DenseStep::BeginDecode(int32_t rows, int32_t cached) {
  slices_.clear();
  for (int32_t row = 0; row < rows; ++row) {
    const int64_t first =
        cached > 0 ? int64_t{row} * context_pages_ : int64_t{kMostSequences} * context_pages_ + row;
    slices_.push_back({row, 1, cached, std::span(pages_).subspan(first)});
  }
  absl::Status status;
  const double seconds = TimeOf([&] {
    status = backend_->BeginStep({std::span(ids_).first(rows), slices_});
  });
  TANDEM_RETURN_IF_ERROR(status);
  return seconds;
}

DenseStepTimes DenseStep::AttentionOnly() {
  const double seconds = TimeOf([&] {
    for (LayerId layer{0}; layer.value < shape_.layers; ++layer.value)
      backend_->Attention(layer, 0);
  });
  return {.attention_s = seconds / shape_.layers, .all_s = seconds};
}

absl::StatusOr<DenseStepTimes> DenseStep::DecodeAttention(int32_t rows, int32_t cached) {
  TANDEM_RETURN_IF_ERROR(BeginDecode(rows, cached).status());
  return AttentionOnly();
}

absl::StatusOr<DenseStepTimes> DenseStep::Prefill(int32_t rows, int32_t cached) {
  slices_ = {{0, rows, cached, pages_}};
  TANDEM_RETURN_IF_ERROR(backend_->BeginStep({std::span(ids_).first(rows), slices_}));
  return AttentionOnly();
}

absl::Status DenseStep::Layers(DenseStepTimes& times) {
  absl::Status status;
  for (LayerId layer{0}; layer.value < shape_.layers; ++layer.value) {
    times.attention_s += TimeOf([&] { backend_->Attention(layer, 0); }) / shape_.layers;
    if (!shape_.is_moe(layer.value)) {
      times.dense_mlp_s += TimeOf([&] { backend_->DenseMlp(layer, 0); }) / shape_.dense_layers;
      continue;
    }
    times.moe_s += TimeOf([&] {
                     backend_->Route(layer, 0);
                     backend_->SharedExperts(layer, 0);
                     status.Update(backend_->Routed(layer, 0).status());
                     backend_->AddExperts(layer, 0);  // the sums were zero from the start
                   }) /
                   shape_.moe_layers();
  }
  return status;
}

absl::Status DenseStep::Head(int32_t rows) {
  absl::Status status;
  std::vector<int32_t> wanted;
  for (int32_t row = 0; row < rows; ++row) wanted.push_back(row);
  const SamplingParams greedy{.temperature = 0};
  const TokenHistory history(greedy, {});
  TANDEM_ASSIGN_OR_RETURN(const auto logits, backend_->Logits(wanted));
  std::vector<absl::Status> errors(rows);
  team_->ParallelFor(rows, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const std::span<const float> row(logits.row(i), static_cast<size_t>(logits.dim(1)));
      errors[i] = samplers_[worker].Sample(row, greedy, history, 1, 1).status();
    }
  });
  for (const absl::Status& error : errors) status.Update(error);
  return status;
}

absl::StatusOr<DenseStepTimes> DenseStep::Decode(int32_t rows, int32_t cached, bool head) {
  const auto begin = CalibrationClock::now();
  DenseStepTimes times;
  TANDEM_ASSIGN_OR_RETURN(const double embed_s, BeginDecode(rows, cached));
  TANDEM_RETURN_IF_ERROR(Layers(times));
  times.all_s = SecondsSince(begin);
  if (!head) return times;
  const int32_t at_once = std::min(rows, kLogitRows);
  absl::Status status;
  const double head_s = TimeOf([&] { status = Head(at_once); });
  times.head_s = embed_s + head_s * rows / at_once;
  TANDEM_RETURN_IF_ERROR(status);
  times.all_s = SecondsSince(begin);
  return times;
}

}  // namespace tandem
