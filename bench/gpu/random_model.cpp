#include "bench/gpu/random_model.h"

#include <algorithm>

namespace tandem {
namespace {

constexpr float kDeviation = 0.03f;

float Uniform(int64_t i) {
  uint64_t x = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  return static_cast<float>(x >> 40) * 0x1p-23f - 1.0f;
}

// Inputs of the matrix that makes the queries.
int64_t QueryInputs(const ModelShape& s) { return s.q_lora_rank > 0 ? s.q_lora_rank : s.hidden; }

}  // namespace

absl::StatusOr<RandomModel> RandomModel::Create(const ModelShape& s, WorkerTeam& team) {
  RandomModel model;
  model.shape_ = s;
  const int64_t widest =
      std::max({s.dense_intermediate, s.shared_intermediate(), s.heads * s.v_dim, s.hidden});
  model.elems_ = std::max({int64_t{s.vocab} * s.hidden, widest * s.hidden,
                           int64_t{s.heads} * s.qk_dim() * QueryInputs(s),
                           int64_t{s.heads} * (s.qk_nope_dim + s.v_dim) * s.kv_lora_rank});
  TANDEM_ASSIGN_OR_RETURN(model.pool_, NumaBuffer::Allocate(model.elems_ * sizeof(bf16)));
  TANDEM_ASSIGN_OR_RETURN(model.norms_, NumaBuffer::Allocate(widest * sizeof(bf16)));
  const int64_t gate_elems = int64_t{s.experts} * s.hidden + s.experts;
  TANDEM_ASSIGN_OR_RETURN(model.gate_, NumaBuffer::Allocate(gate_elems * sizeof(float)));
  team.ParallelFor(model.elems_, 1 << 20, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      model.pool_.as<bf16>()[i] = ToBf16(kDeviation * Uniform(i));
  });
  std::fill_n(model.norms_.as<bf16>(), widest, ToBf16(1.0f));
  for (int64_t i = 0; i < gate_elems; ++i)
    model.gate_.as<float>()[i] = ToFloat(ToBf16(kDeviation * Uniform(~i)));
  return model;
}

MatrixView RandomModel::Matrix(int64_t rows, int64_t cols, uint32_t salt) const {
  const int64_t places = (elems_ - rows * cols) / 8 + 1;
  const int64_t first = static_cast<int64_t>(salt * 0x9e3779b1u) % places * 8;
  return {pool_.as<bf16>() + first, {rows, cols}};
}

GlobalWeights RandomModel::globals() const {
  const MatrixView words = Matrix(shape_.vocab, shape_.hidden, 0);
  return {words, Norm(shape_.hidden), words};
}

LayerWeights RandomModel::layer(LayerId layer) const {
  const ModelShape& s = shape_;
  uint32_t salt = 100 * (layer.value + 1);
  const auto mlp = [&](int64_t width) {
    return MlpWeights{Matrix(width, s.hidden, ++salt), Matrix(width, s.hidden, ++salt),
                      Matrix(s.hidden, width, ++salt)};
  };
  LayerWeights w;
  w.attention = {
      .input_norm = Norm(s.hidden),
      .kv_a = Matrix(s.cache_dim(), s.hidden, ++salt),
      .kv_a_norm = Norm(s.kv_lora_rank),
      .kv_b = Matrix(int64_t{s.heads} * (s.qk_nope_dim + s.v_dim), s.kv_lora_rank, ++salt),
      .o_proj = Matrix(s.hidden, int64_t{s.heads} * s.v_dim, ++salt)};
  const int64_t query_rows = int64_t{s.heads} * s.qk_dim();
  if (s.q_lora_rank > 0) {
    w.attention.q_a = Matrix(s.q_lora_rank, s.hidden, ++salt);
    w.attention.q_a_norm = Norm(s.q_lora_rank);
    w.attention.q_b = Matrix(query_rows, s.q_lora_rank, ++salt);
  } else {
    w.attention.q_proj = Matrix(query_rows, s.hidden, ++salt);
  }
  w.post_attention_norm = Norm(s.hidden);
  if (!s.is_moe(layer.value)) {
    w.dense = mlp(s.dense_intermediate);
    return w;
  }
  if (s.shared_experts > 0) w.shared = mlp(s.shared_intermediate());
  const float* gate = gate_.as<float>();
  w.router = {{gate, {s.experts, s.hidden}}, {gate + int64_t{s.experts} * s.hidden, {s.experts}}};
  return w;
}

}  // namespace tandem
