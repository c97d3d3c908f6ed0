#include "tests/gpu_attention/small_model.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gpu_attention/rope.h"
#include "tests/gpu_attention/random_numbers.h"

namespace tandem {

SmallModel::SmallModel(const ModelShape& s, uint32_t seed) : shape(s), seed_(seed) {
  globals = {Matrix(s.vocab, s.hidden, 1.0f), Norm(s.hidden),
             Matrix(s.vocab, s.hidden, 1.0f / std::sqrt(static_cast<float>(s.hidden)))};
  auto fan_in = [&](int64_t rows, int64_t cols) {
    return Matrix(rows, cols, 1.5f / std::sqrt(static_cast<float>(cols)));
  };
  for (int32_t l = 0; l < s.layers; ++l) {
    LayerWeights w;
    AttentionWeights& a = w.attention;
    a.input_norm = Norm(s.hidden);
    if (s.q_lora_rank > 0) {
      a.q_a = fan_in(s.q_lora_rank, s.hidden);
      a.q_a_norm = Norm(s.q_lora_rank);
      a.q_b = fan_in(s.heads * s.qk_dim(), s.q_lora_rank);
    } else {
      a.q_proj = fan_in(s.heads * s.qk_dim(), s.hidden);
    }
    a.kv_a = fan_in(s.cache_dim(), s.hidden);
    a.kv_a_norm = Norm(s.kv_lora_rank);
    a.kv_b = fan_in(s.heads * (s.qk_nope_dim + s.v_dim), s.kv_lora_rank);
    a.o_proj = fan_in(s.hidden, s.heads * s.v_dim);
    w.post_attention_norm = Norm(s.hidden);
    if (s.is_moe(l)) {
      w.shared = Mlp(s.shared_intermediate());
      for (int64_t n : {int64_t{s.experts} * s.hidden, int64_t{s.experts}}) {
        float_storage_.push_back(std::make_unique<std::vector<float>>(
            RandomFloats(n, ++seed_, n == s.experts ? 0.1f : 0.15f)));
      }
      w.router = {{float_storage_[float_storage_.size() - 2]->data(), {s.experts, s.hidden}},
                  {float_storage_.back()->data(), {s.experts}}};
    } else {
      w.dense = Mlp(s.dense_intermediate);
    }
    layers.push_back(w);
  }
}

MatrixView SmallModel::Matrix(int64_t rows, int64_t cols, float deviation) {
  storage_.push_back(
      std::make_unique<std::vector<bf16>>(RandomBf16(rows * cols, ++seed_, deviation)));
  return {storage_.back()->data(), {rows, cols}};
}

VectorView SmallModel::Norm(int64_t size) {
  auto values = std::make_unique<std::vector<bf16>>(RandomBf16(size, ++seed_, 0.2f));
  for (bf16& v : *values) v = ToBf16(1.0f + ToFloat(v));
  storage_.push_back(std::move(values));
  return {storage_.back()->data(), {size}};
}

MlpWeights SmallModel::Mlp(int32_t intermediate) {
  const float in = 1.5f / std::sqrt(static_cast<float>(shape.hidden));
  return {Matrix(intermediate, shape.hidden, in), Matrix(intermediate, shape.hidden, in),
          Matrix(shape.hidden, intermediate, 1.5f / std::sqrt(static_cast<float>(intermediate)))};
}

ModelShape OddShape() {
  ModelShape s;
  s.hidden = 96;
  s.layers = 3;
  s.dense_layers = 1;
  s.dense_intermediate = 170;
  s.vocab = 101;
  s.max_positions = 1024;
  s.heads = 3;
  s.q_lora_rank = 0;
  s.kv_lora_rank = 48;
  s.qk_nope_dim = 24;
  s.qk_rope_dim = 16;
  s.v_dim = 20;
  s.experts = 9;
  s.top_k = 3;
  s.expert_intermediate = 64;
  s.shared_experts = 1;
  s.routed_scaling = 1.3f;
  return s;
}

ModelShape OneHeadShape() {
  ModelShape s = OddShape();
  s.hidden = 160;
  s.layers = 2;
  s.heads = 1;
  s.q_lora_rank = 40;
  s.kv_lora_rank = 64;
  s.qk_nope_dim = 32;
  s.v_dim = 32;
  s.mla_norm_eps = 0.2f;  // large, so that using the other one shows
  s.rope_theta = 50000;
  s.yarn = {.factor = 8,
            .beta_fast = 32,
            .beta_slow = 1,
            .mscale = 1,
            .mscale_all_dim = 1,
            .original_max_positions = 64};
  s.experts = 8;
  s.expert_groups = 4;
  s.top_k_groups = 2;
  s.shared_experts = 2;
  return s;
}

void FakeExperts(const RoutedTokens& in, View<float, 2> y) {
  for (int64_t t = 0; t < y.dim(0); ++t) {
    float factor = 0;
    for (int64_t k = 0; k < in.expert_ids.dim(1); ++k)
      factor += in.weights(t, k) * (0.3f + 0.1f * static_cast<float>(in.expert_ids(t, k)));
    for (int64_t i = 0; i < y.dim(1); ++i) y(t, i) = factor * ToFloat(in.hidden(t, i));
  }
}

void RunStep(const ModelShape& shape, DenseBackend& backend, const StepBatch& batch) {
  TANDEM_CHECK(backend.BeginStep(batch).ok(), "the step begins");
  for (LayerId layer{0}; layer.value < shape.layers; ++layer.value) {
    for (int part = 0; part < backend.parts(); ++part) {
      backend.Attention(layer, part);
      if (!shape.is_moe(layer.value)) {
        backend.DenseMlp(layer, part);
        continue;
      }
      backend.Route(layer, part);
      backend.SharedExperts(layer, part);
      const auto routed = backend.Routed(layer, part);
      TANDEM_CHECK(routed.ok(), routed.status().ToString().c_str());
      FakeExperts(*routed, backend.ExpertSums(part));
      backend.AddExperts(layer, part);
    }
  }
}

std::vector<int32_t> RandomIds(const ModelShape& shape, int32_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % shape.vocab);
  return ids;
}

namespace {

std::unique_ptr<DenseBackend> HostBackendOf(const SmallModel& model, DenseBackendOptions options,
                                            WorkerTeam& team) {
  options.kv_pages = kDriverPages;
  auto backend = CreateHostBackend(model.shape, options, team);
  TANDEM_CHECK(backend.ok(), backend.status().ToString().c_str());
  return *std::move(backend);
}

}  // namespace

Driver::Driver(const SmallModel& model, const DenseBackendOptions& options, WorkerTeam& team,
               std::vector<std::vector<int32_t>> sequences)
    : Driver(model, HostBackendOf(model, options, team), std::move(sequences)) {}

Driver::Driver(const SmallModel& model, std::unique_ptr<DenseBackend> backend,
               std::vector<std::vector<int32_t>> sequences)
    : model_(model), backend_(std::move(backend)), sequences_(std::move(sequences)) {
  TANDEM_CHECK(backend_->LoadGlobals(model.globals).ok(), "globals load");
  for (int32_t l = 0; l < model.shape.layers; ++l)
    TANDEM_CHECK(backend_->LoadLayer({l}, model.layers[l]).ok(), "layers load");
  // Pages in an order of their own, descending and interleaved.
  int32_t next = kDriverPages - 1;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    pages_.emplace_back();
    for (size_t p = 0; p * kPageTokens < sequences_[i].size(); ++p) pages_[i].push_back(next--);
  }
  done_.resize(sequences_.size());
  logits_.resize(sequences_.size());
}

void Driver::Step(const std::vector<Share>& shares) {
  const ModelShape& s = model_.shape;
  std::vector<int32_t> ids, rows;
  std::vector<SequenceSlice> slices;
  for (const Share& share : shares) {
    slices.push_back({static_cast<int32_t>(ids.size()), share.tokens, done_[share.sequence],
                      pages_[share.sequence]});
    for (int32_t i = 0; i < share.tokens; ++i) {
      rows.push_back(static_cast<int32_t>(ids.size()));
      ids.push_back(sequences_[share.sequence][done_[share.sequence] + i]);
    }
  }
  RunStep(s, *backend_, {ids, slices});
  const View<const float, 2> logits = *backend_->Logits(rows);
  int64_t row = 0;
  for (const Share& share : shares) {
    for (int32_t i = 0; i < share.tokens; ++i, ++row)
      logits_[share.sequence].emplace_back(logits.row(row), logits.row(row) + s.vocab);
    done_[share.sequence] += share.tokens;
  }
}

void Driver::RunAlone(int sequence, int32_t chunk) {
  while (done_[sequence] < std::ssize(sequences_[sequence])) {
    const auto left = static_cast<int32_t>(sequences_[sequence].size()) - done_[sequence];
    Step({{sequence, std::min(chunk, left)}});
  }
}

std::vector<std::vector<int32_t>> ThreeSequences(const ModelShape& s) {
  return {RandomIds(s, 70, 1), RandomIds(s, 131, 2), RandomIds(s, 66, 3)};
}

void RunMixed(Driver& driver) {
  driver.Step({{0, 63}, {1, 65}});
  driver.Step({{2, 1}, {0, 1}, {1, 62}});
  driver.Step({{0, 1}, {2, 64}, {1, 1}});
  driver.Step({{1, 1}, {2, 1}, {0, 1}});
  driver.Step({{1, 2}, {0, 4}});
}

}  // namespace tandem
