// The model of small_model.h in double precision, written to be obvious.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpu_attention/rope.h"
#include "tests/gpu_attention/small_model.h"

namespace tandem {
namespace {

using Row = std::vector<double>;

Row Times(const MatrixView& w, const Row& x) {
  Row y(w.dim(0));
  for (int64_t r = 0; r < w.dim(0); ++r)
    for (int64_t k = 0; k < w.dim(1); ++k) y[r] += double{ToFloat(w(r, k))} * x[k];
  return y;
}

Row Norm(const Row& x, const VectorView& weight, double eps) {
  double squares = 0;
  for (double v : x) squares += v * v;
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = ToFloat(weight[i]) * x[i] / std::sqrt(squares / x.size() + eps);
  return y;
}

void RoundToBf16(Row& x) {
  for (double& v : x) v = ToFloat(ToBf16(static_cast<float>(v)));
}

void Add(Row& x, const Row& y, double factor = 1) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += factor * y[i];
}

Row Part(const Row& x, int64_t first, int64_t n) {
  return Row(x.begin() + first, x.begin() + first + n);
}

Row Rotated(Row x, const ModelShape& s, int64_t position) {
  const std::vector<float> frequencies = RopeFrequencies(s);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies[i];
    const double a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * std::cos(angle) - b * std::sin(angle);
    x[2 * i + 1] = b * std::cos(angle) + a * std::sin(angle);
  }
  return x;
}

Row Mlp(const MlpWeights& w, const Row& x) {
  Row gate = Times(w.gate, x);
  const Row up = Times(w.up, x);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return Times(w.down, gate);
}

// Keys and values are up-projected per head; nothing is absorbed.
std::vector<Row> Attention(const ModelShape& s, const AttentionWeights& w,
                           const std::vector<Row>& h) {
  const double eps = s.mla_norm_eps > 0 ? s.mla_norm_eps : s.rms_norm_eps;
  std::vector<Row> queries, keys_values, keys_pe, out;
  for (size_t t = 0; t < h.size(); ++t) {
    const Row x = Norm(h[t], w.input_norm, s.rms_norm_eps);
    queries.push_back(s.q_lora_rank > 0 ? Times(w.q_b, Norm(Times(w.q_a, x), w.q_a_norm, eps))
                                        : Times(w.q_proj, x));
    const Row compressed = Times(w.kv_a, x);
    Row latent = Norm(Part(compressed, 0, s.kv_lora_rank), w.kv_a_norm, eps);
    Row pe = Rotated(Part(compressed, s.kv_lora_rank, s.qk_rope_dim), s, t);
    RoundToBf16(latent);
    RoundToBf16(pe);
    keys_values.push_back(Times(w.kv_b, latent));
    keys_pe.push_back(pe);
  }
  for (size_t t = 0; t < h.size(); ++t) {
    Row heads;
    for (int32_t head = 0; head < s.heads; ++head) {
      const Row q = Part(queries[t], int64_t{head} * s.qk_dim(), s.qk_nope_dim);
      const Row q_pe = Rotated(
          Part(queries[t], int64_t{head} * s.qk_dim() + s.qk_nope_dim, s.qk_rope_dim), s, t);
      const int64_t base = int64_t{head} * (s.qk_nope_dim + s.v_dim);
      Row p;
      for (size_t k = 0; k <= t; ++k) {
        const Row key = Part(keys_values[k], base, s.qk_nope_dim);
        p.push_back(AttentionScale(s) *
                    (std::inner_product(q.begin(), q.end(), key.begin(), 0.0) +
                     std::inner_product(q_pe.begin(), q_pe.end(), keys_pe[k].begin(), 0.0)));
      }
      const double max = *std::ranges::max_element(p);
      double sum = 0;
      for (double& v : p) sum += v = std::exp(v - max);
      Row value(s.v_dim);
      for (size_t k = 0; k <= t; ++k)
        Add(value, Part(keys_values[k], base + s.qk_nope_dim, s.v_dim), p[k] / sum);
      heads.insert(heads.end(), value.begin(), value.end());
    }
    out.push_back(Times(w.o_proj, heads));
  }
  return out;
}

Row RoutedAndShared(const ModelShape& s, const LayerWeights& w, Row x) {
  RoundToBf16(x);
  const int32_t group_size = s.experts / s.expert_groups;
  Row sigmoid(s.experts), choice(s.experts);
  for (int32_t e = 0; e < s.experts; ++e) {
    double logit = 0;
    for (int32_t i = 0; i < s.hidden; ++i) logit += double{w.router.gate(e, i)} * x[i];
    sigmoid[e] = 1 / (1 + std::exp(-logit));
    choice[e] = sigmoid[e] + w.router.bias[e];
  }
  std::vector<std::pair<double, int32_t>> groups;
  for (int32_t g = 0; g < s.expert_groups; ++g) {
    Row members = Part(choice, int64_t{g} * group_size, group_size);
    std::ranges::sort(members, std::greater<>());
    groups.emplace_back(-(members[0] + (group_size > 1 ? members[1] : 0)), g);
  }
  std::ranges::sort(groups);
  std::vector<std::pair<double, int32_t>> candidates;
  for (int32_t g = 0; g < s.top_k_groups; ++g)
    for (int32_t i = 0; i < group_size; ++i) {
      const int32_t e = groups[g].second * group_size + i;
      candidates.emplace_back(-choice[e], e);
    }
  std::ranges::sort(candidates);
  double sum = 0, factor = 0;
  for (int32_t k = 0; k < s.top_k; ++k) sum += sigmoid[candidates[k].second];
  for (int32_t k = 0; k < s.top_k; ++k) {
    const int32_t e = candidates[k].second;
    factor += sigmoid[e] / (sum + 1e-20) * s.routed_scaling * (0.3 + 0.1 * e);
  }
  Row y = Mlp(w.shared, x);
  Add(y, x, factor);
  return y;
}

}  // namespace

std::vector<std::vector<double>> ReferenceLogits(const SmallModel& model,
                                                 const std::vector<int32_t>& ids) {
  const ModelShape& s = model.shape;
  std::vector<Row> h;
  for (int32_t id : ids) {
    Row row(s.hidden);
    for (int32_t i = 0; i < s.hidden; ++i) row[i] = ToFloat(model.globals.embedding(id, i));
    h.push_back(row);
  }
  for (int32_t l = 0; l < s.layers; ++l) {
    const LayerWeights& w = model.layers[l];
    const std::vector<Row> attended = Attention(s, w.attention, h);
    for (size_t t = 0; t < h.size(); ++t) {
      Add(h[t], attended[t]);
      const Row x = Norm(h[t], w.post_attention_norm, s.rms_norm_eps);
      Add(h[t], s.is_moe(l) ? RoutedAndShared(s, w, x) : Mlp(w.dense, x));
    }
  }
  std::vector<Row> logits;
  for (const Row& row : h)
    logits.push_back(
        Times(model.globals.head, Norm(row, model.globals.final_norm, s.rms_norm_eps)));
  return logits;
}

}  // namespace tandem
