#include "gpu_attention/host/host_backend.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/trace.h"
#include "gpu_attention/host/kernel_choice.h"
#include "gpu_attention/host/linear.h"
#include "gpu_attention/host/router.h"
#include "gpu_attention/rope.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<DenseBackend>> CreateHostBackend(const ModelShape& shape,
                                                                const DenseBackendOptions& options,
                                                                WorkerTeam& team) {
  return HostBackend::Create(shape, options, team);
}

void HostBackend::NormRows(const std::vector<float>& weight) {
  const ModelShape& s = context_.shape;
  ForRows(context_.team, step_.tokens, s.hidden, [&](int64_t t) {
    context_.kernels.rms_norm(h_.row(t), weight.data(), s.hidden, s.rms_norm_eps, x_.row(t));
  });
}

absl::Status HostBackend::BeginStep(const StepBatch& batch) {
  const TraceSpan span("begin step", static_cast<int64_t>(batch.token_ids.size()));
  const ModelShape& s = context_.shape;
  TANDEM_CHECK(static_cast<int64_t>(batch.token_ids.size()) <= context_.max_tokens,
               "a step has at most max_tokens tokens");
  step_.sequences = batch.sequences;
  step_.tokens = static_cast<int32_t>(batch.token_ids.size());
  step_.positions.resize(step_.tokens);
  step_.pages.resize(step_.tokens);
  for (const SequenceSlice& slice : batch.sequences) {
    const int64_t last = int64_t{slice.kv_len} + slice.tokens - 1;
    TANDEM_CHECK(slice.tokens == 0 || last / kPageTokens < std::ssize(slice.pages),
                 "a slice's pages reach its last token");
    for (int32_t i = 0; i < slice.tokens; ++i) {
      step_.positions[slice.first_row + i] = slice.kv_len + i;
      step_.pages[slice.first_row + i] = slice.pages.data();
    }
  }
  const int64_t pairs = s.qk_rope_dim / 2;
  step_.cos.resize(step_.tokens * pairs);
  step_.sin.resize(step_.tokens * pairs);
  const float magnitude = RopeMagnitude(s.yarn);
  ForRows(context_.team, step_.tokens, s.hidden, [&](int64_t t) {
    RopeRow(rope_frequencies_, magnitude, step_.positions[t], &step_.cos[t * pairs],
            &step_.sin[t * pairs]);
    const bf16* from = embedding_.as<bf16>() + int64_t{batch.token_ids[t]} * s.hidden;
    float* to = h_.row(t);
    for (int32_t i = 0; i < s.hidden; ++i) to[i] = ToFloat(from[i]);
  });
  return absl::OkStatus();
}

void HostBackend::Attention(LayerId layer, int) {
  const TraceSpan span("attention", layer.value);
  mla_.Forward(context_, step_, layers_[layer.value].attention, cache_, layer.value, activations_,
               x(), h());
}

void HostBackend::DenseMlp(LayerId layer, int) {
  const TraceSpan span("dense mlp", layer.value);
  const Layer& weights = layers_[layer.value];
  NormRows(weights.post_attention_norm);
  swiglu_.Forward(context_, weights.mlp, activations_, x(), h());
}

void HostBackend::Route(LayerId layer, int) {
  const TraceSpan span("route", layer.value);
  const ModelShape& s = context_.shape;
  const Layer& weights = layers_[layer.value];
  NormRows(weights.post_attention_norm);
  // Experts get BF16 rows; router and shared expert see the same rounded values.
  ForRows(context_.team, step_.tokens, s.hidden, [&](int64_t t) {
    float* x = x_.row(t);
    bf16* hidden = routed_hidden_.as<bf16>() + t * s.hidden;
    for (int32_t i = 0; i < s.hidden; ++i) {
      hidden[i] = ToBf16(x[i]);
      x[i] = ToFloat(hidden[i]);
    }
  });
  const LinearInput in =
      activations_.Prepare(context_.kernels, weights.router.format(), x(), &context_.team);
  Linear(context_.kernels, weights.router, in, context_.team,
         router_logits_.Rows(step_.tokens, weights.router.padded_rows()));
  // A token's choice reads its logits about top_k times.
  ForRows(context_.team, step_.tokens, int64_t{s.experts} * s.top_k, [&](int64_t t) {
    float* row = router_logits_.row(t);
    const std::span<const float> logits(row, s.experts);
    const std::span<float> choice(row + weights.router.padded_rows(), s.experts);
    ChooseExperts(s, logits, weights.router_bias, choice,
                  std::span(&expert_ids_[t * s.top_k], s.top_k),
                  std::span(&expert_weights_[t * s.top_k], s.top_k));
  });
}

absl::StatusOr<RoutedTokens> HostBackend::Routed(LayerId, int) {
  const ModelShape& s = context_.shape;
  return RoutedTokens{.hidden = {routed_hidden_.as<bf16>(), {step_.tokens, s.hidden}},
                      .expert_ids = {expert_ids_.data(), {step_.tokens, s.top_k}},
                      .weights = {expert_weights_.data(), {step_.tokens, s.top_k}}};
}

void HostBackend::SharedExperts(LayerId layer, int) {
  const TraceSpan span("shared experts", layer.value);
  if (context_.shape.shared_experts == 0) return;
  swiglu_.Forward(context_, layers_[layer.value].mlp, activations_, x(), h());
}

void HostBackend::AddExperts(LayerId layer, int part) {
  const TraceSpan span("add experts", layer.value);
  AddRows(context_.team, ExpertSums(part), h());
}

absl::StatusOr<View<const float, 2>> HostBackend::Logits(std::span<const int32_t> rows) {
  const TraceSpan span("head", std::ssize(rows));
  const ModelShape& s = context_.shape;
  const auto n = static_cast<int64_t>(rows.size());
  TANDEM_CHECK(n <= context_.max_tokens, "at most max_tokens rows of logits");
  ForRows(context_.team, n, s.hidden, [&](int64_t i) {
    context_.kernels.rms_norm(h_.row(rows[i]), final_norm_.data(), s.hidden, s.rms_norm_eps,
                              x_.row(i));
  });
  const LinearInput in =
      activations_.Prepare(context_.kernels, head_.format(), x_.Rows(n, s.hidden), &context_.team);
  Linear(context_.kernels, head_, in, context_.team, logits_.Rows(n, head_.padded_rows()));
  return View<const float, 2>(logits_.Rows(n, s.vocab));
}

int64_t HostBackend::weight_bytes() const {
  auto bytes = static_cast<int64_t>(embedding_.size_bytes()) + head_.size_bytes();
  for (const Layer& layer : layers_)
    bytes += layer.attention.size_bytes() + layer.mlp.size_bytes() + layer.router.size_bytes();
  return bytes;
}

std::string HostBackend::description() const {
  return absl::StrCat("host ", context_.kernels.name, ", ",
                      context_.format == WeightFormat::kInt8 ? "int8" : "bf16");
}

}  // namespace tandem
