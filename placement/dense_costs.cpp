#include "placement/dense_costs.h"

#include <algorithm>

#include "placement/footprint.h"

namespace tandem {
namespace {

// Forks of the worker team per layer where no curve includes them.
constexpr int kAttentionForks = 6, kMlpForks = 2;

}  // namespace

DenseCosts::DenseCosts(const ModelShape& shape, const Machine& machine, int32_t weight_bits,
                       bool gpu)
    : shape_(shape), gpu_(gpu), weight_bytes_(DenseWeightBytes(weight_bits)) {
  if (gpu) {
    bytes_per_s_ = machine.gpu->hbm_gb_per_s * 1e9;
    flop_per_s_ = machine.gpu->bf16_tflops * 1e12;
    return;
  }
  bytes_per_s_ = machine.read_gb_per_s() * 1e9;
  flop_per_s_ = machine.rates.dense_gflops * 1e9;
  dispatch_s_ = machine.rates.dispatch_us * 1e-6;
  const DenseCurve* curve = machine.rates.FindDense(DenseKeyOf(shape, weight_bits));
  if (curve != nullptr) curve_ = *curve;
}

Work DenseCosts::Product(double weights, double bytes_per_weight, int64_t rows) const {
  const double read_s = weights * bytes_per_weight / bytes_per_s_;
  const double compute_s = 2 * weights * static_cast<double>(rows) / flop_per_s_;
  return {std::max(read_s, compute_s), read_s >= compute_s};
}

// Linear between the points; before the first its time, behind the last the last slope.
Work DenseCosts::Curve(double DenseCurve::Point::*part, int64_t rows) const {
  const auto& points = curve_->points;
  const double first = points[0].*part;
  const auto n = static_cast<double>(rows);
  if (rows <= points[0].rows) return {first, true};
  if (points.size() == 1) return {first * n / points[0].rows, false};
  size_t i = 1;
  while (i + 1 < points.size() && points[i].rows < rows) ++i;
  const auto &low = points[i - 1], &high = points[i];
  const double slope = (high.*part - low.*part) / (high.rows - low.rows);
  const double s = std::max(0.0, low.*part + slope * (n - low.rows));
  return {s, s < 2 * first};
}

Work DenseCosts::Attention(int64_t rows, bool prompt) const {
  if (curve_)
    return Curve(prompt ? &DenseCurve::Point::prefill_attention_s : &DenseCurve::Point::attention_s,
                 rows);
  Work work = Product(static_cast<double>(AttentionWeights(shape_)), weight_bytes_, rows);
  work.s += Forks(kAttentionForks);
  return work;
}

Work DenseCosts::DecodeCache(int64_t rows, int64_t context) const {
  const double pairs = static_cast<double>(rows) * static_cast<double>(context);
  if (curve_) {
    const bool one = rows == 1 && curve_->decode_one_kv_s > 0;
    return {pairs * (one ? curve_->decode_one_kv_s : curve_->decode_kv_s), true};
  }
  const double read_s = pairs * 2 * shape_.cache_dim() / bytes_per_s_;
  if (gpu_) return {read_s, true};
  const double flop = 2.0 * shape_.heads * (shape_.cache_dim() + shape_.kv_lora_rank);
  const double compute_s = pairs * flop / flop_per_s_;
  return {std::max(read_s, compute_s), read_s >= compute_s};
}

// The cheaper of the absorbed form, on latents, and the naive one, which expands cached keys and
// values first. A row of the slice sees half of the slice on average.
Work DenseCosts::PromptCache(int64_t rows, int64_t cached) const {
  const auto n = static_cast<double>(rows), before = static_cast<double>(cached);
  if (curve_) return {n * before * curve_->prefill_kv_s, false};
  const double pairs = n * (before + n / 2), heads = shape_.heads;
  const double absorbed = 2 * heads * (shape_.cache_dim() + shape_.kv_lora_rank) * pairs;
  const double expand =
      2 * heads * (shape_.qk_nope_dim + shape_.v_dim) * shape_.kv_lora_rank * before;
  const double naive = 2 * heads * (shape_.qk_dim() + shape_.v_dim) * pairs + expand;
  return {std::min(absorbed, naive) / flop_per_s_, false};
}

Work DenseCosts::DenseMlp(int64_t rows) const {
  if (curve_) return Curve(&DenseCurve::Point::dense_mlp_s, rows);
  Work work = Product(3.0 * shape_.hidden * shape_.dense_intermediate, weight_bytes_, rows);
  work.s += Forks(kMlpForks);
  return work;
}

Work DenseCosts::Router(int64_t rows) const {
  if (curve_) return {};
  constexpr double kRouterWeightBytes = 4;  // kept in FP32
  Work work = Product(1.0 * shape_.hidden * shape_.experts, kRouterWeightBytes, rows);
  work.s += Forks(1);
  return work;
}

Work DenseCosts::Shared(int64_t rows) const {
  if (curve_) return Curve(&DenseCurve::Point::moe_s, rows);
  if (shape_.shared_experts == 0) return {};
  Work work = Product(3.0 * shape_.hidden * shape_.shared_intermediate(), weight_bytes_, rows);
  work.s += Forks(kMlpForks);
  return work;
}

Work DenseCosts::Head(int64_t rows) const {
  if (curve_) return Curve(&DenseCurve::Point::head_s, rows);
  Work work = Product(1.0 * shape_.hidden * shape_.vocab, weight_bytes_, rows);
  work.s += Forks(1);
  return work;
}

DenseCurve::Key DenseKeyOf(const ModelShape& s, int32_t weight_bits) {
  return {.hidden = s.hidden,
          .heads = s.heads,
          .q_lora_rank = s.q_lora_rank,
          .kv_lora_rank = s.kv_lora_rank,
          .qk_nope_dim = s.qk_nope_dim,
          .qk_rope_dim = s.qk_rope_dim,
          .v_dim = s.v_dim,
          .dense_intermediate = s.dense_intermediate,
          .shared_intermediate = s.shared_intermediate(),
          .experts = s.experts,
          .vocab = s.vocab,
          .weight_bits = weight_bits};
}

}  // namespace tandem
