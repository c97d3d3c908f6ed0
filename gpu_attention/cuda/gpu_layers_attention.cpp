// Attention of GpuLayers: projections, the absorbed form for short slices, the naive one for long.
#include <algorithm>

#include "gpu_attention/cuda/gpu_layers.h"
#include "gpu_attention/cuda/latent_write.h"
#include "gpu_attention/cuda/mla_decode.h"
#include "gpu_attention/cuda/mla_prefill.h"
#include "gpu_attention/cuda/rms_norm.h"
#include "gpu_attention/cuda/rotate_query.h"

namespace tandem::TANDEM_GPU {

void GpuLayers::Attention(LayerId layer, const StepInputs& inputs, RowRange range) {
  const ModelShape& s = shape_;
  const DeviceLayer& weights = layers_[layer.value];
  const Workspace& w = workspace_;
  const int64_t first = range.first, rows = range.rows;
  const float eps = s.mla_norm_eps > 0 ? s.mla_norm_eps : s.rms_norm_eps;
  Norm(weights.input_norm, range);
  const auto x = w.x.part<bf16>(first * s.hidden, rows * s.hidden);

  // Queries' and keys' compressed forms in one product.
  const int32_t width = s.q_lora_rank + s.cache_dim();
  const auto qa_kva = w.qa_kva.part<float>(first * width, rows * width);
  gemm_.Linear({.rows = range.rows,
                .outputs = width,
                .inputs = s.hidden,
                .x = x,
                .w = weights.qa_kva.as<bf16>(),
                .y_f32 = qa_kva});
  const int64_t pairs = s.qk_rope_dim / 2;
  const auto cos = inputs.cos() + first * pairs, sin = inputs.sin() + first * pairs;
  LatentWrite(stream_, {.tokens = range.rows,
                        .latent = s.kv_lora_rank,
                        .rope = s.qk_rope_dim,
                        .eps = eps,
                        .x = qa_kva + s.q_lora_rank,
                        .x_row = width,
                        .weight = weights.kv_a_norm.as<float>(),
                        .cos = cos,
                        .sin = sin,
                        .slots = inputs.slots() + first,
                        .cache = cache_[layer.value].as<bf16>()});
  auto q_in = x;
  if (s.q_lora_rank > 0) {
    q_in = w.qa.part<bf16>(first * s.q_lora_rank, rows * s.q_lora_rank);
    RmsNorm(stream_, {.rows = range.rows,
                      .dim = s.q_lora_rank,
                      .eps = eps,
                      .x = qa_kva,
                      .x_row = width,
                      .weight = weights.q_a_norm.as<float>(),
                      .out = q_in});
  }
  const int32_t q_width = s.heads * s.qk_dim(), v_width = s.heads * s.v_dim;
  gemm_.Linear({.rows = range.rows,
                .outputs = q_width,
                .inputs = s.q_lora_rank > 0 ? s.q_lora_rank : s.hidden,
                .x = q_in,
                .w = weights.q.as<bf16>(),
                .y_bf16 = w.q.part<bf16>(first * q_width, rows * q_width)});

  for (const Segment& segment : inputs.segments()) {
    if (segment.first_row < range.first || segment.first_row >= range.first + range.rows) continue;
    if (segment.naive) {
      Naive(weights, layer, inputs, segment);
      continue;
    }
    for (int32_t row = 0; row < segment.rows; row += kAbsorbedRows) {
      Absorbed(weights, layer, inputs,
               {segment.first_row + row, std::min(kAbsorbedRows, segment.rows - row)},
               segment.table_row + row);
    }
  }

  gemm_.Linear({.rows = range.rows,
                .outputs = s.hidden,
                .inputs = v_width,
                .x = w.attended.part<bf16>(first * v_width, rows * v_width),
                .w = weights.o_proj.as<bf16>(),
                .y_f32 = w.h.part<float>(first * s.hidden, rows * s.hidden),
                .accumulate = true});
}

// Queries go into the latent space; all heads share the cached key; values come back per head.
void GpuLayers::Absorbed(const DeviceLayer& weights, LayerId layer, const StepInputs& inputs,
                         RowRange range, int32_t table_row) {
  const ModelShape& s = shape_;
  const Workspace& w = workspace_;
  const int64_t first = range.first, rows = range.rows;
  const int64_t q_width = int64_t{s.heads} * s.qk_dim(), v_width = int64_t{s.heads} * s.v_dim;
  const int64_t kv_head = int64_t{s.qk_nope_dim + s.v_dim} * s.kv_lora_rank;  // of kv_b
  const int64_t cache_dim = s.cache_dim(), latent = s.kv_lora_rank, pairs = s.qk_rope_dim / 2;
  const auto q = w.q.part<bf16>(first * q_width, rows * q_width);
  const auto query = w.query.part<bf16>(0, rows * s.heads * cache_dim);
  const auto latents = w.latents.part<bf16>(0, rows * s.heads * latent);

  gemm_.Linear({.rows = range.rows,
                .outputs = s.kv_lora_rank,
                .inputs = s.qk_nope_dim,
                .x = q,
                .w = weights.kv_b.as<bf16>(),
                .y_bf16 = query,
                .w_transposed = true,
                .x_row = q_width,
                .y_row = s.heads * cache_dim,
                .batch = s.heads,
                .x_batch = s.qk_dim(),
                .w_batch = kv_head,
                .y_batch = cache_dim});
  RotateQuery(stream_, {.tokens = range.rows,
                        .heads = s.heads,
                        .rope = s.qk_rope_dim,
                        .from = q + s.qk_nope_dim,
                        .from_token = q_width,
                        .from_head = s.qk_dim(),
                        .to = query + latent,
                        .to_token = s.heads * cache_dim,
                        .to_head = cache_dim,
                        .cos = inputs.cos() + first * pairs,
                        .sin = inputs.sin() + first * pairs});
  const StepKey& key = inputs.key();
  // The cut is fixed by what the graph is recorded for, not by what the rows hold today.
  const int32_t splits = DecodeSplits(range.rows, s.heads, int64_t{key.max_pages} * kPageTokens,
                                      device_.multiprocessors, device_.shared_bytes_per_block);
  MlaDecode(stream_, {.rows = range.rows,
                      .heads = s.heads,
                      .latent = s.kv_lora_rank,
                      .rope = s.qk_rope_dim,
                      .scale = scale_,
                      .n_splits = splits,
                      .shared_bytes_per_block = device_.shared_bytes_per_block,
                      .query = query,
                      .cache = cache_[layer.value].as<bf16>(),
                      .pages = inputs.pages() + int64_t{table_row} * key.max_pages,
                      .pages_row = key.max_pages,
                      .kv_len = inputs.kv_len() + first,
                      .partial = w.partial.as<float>(),
                      .lse = w.lse.as<float>(),
                      .out = latents});
  gemm_.Linear({.rows = range.rows,
                .outputs = s.v_dim,
                .inputs = s.kv_lora_rank,
                .x = latents,
                .w = weights.kv_b.as<bf16>() + s.qk_nope_dim * latent,
                .y_bf16 = w.attended.part<bf16>(first * v_width, rows * v_width),
                .x_row = s.heads * latent,
                .y_row = v_width,
                .batch = s.heads,
                .x_batch = latent,
                .w_batch = kv_head,
                .y_batch = s.v_dim});
}

// Keys and values are expanded per head, a block of the cache at a time.
void GpuLayers::Naive(const DeviceLayer& weights, LayerId layer, const StepInputs& inputs,
                      const Segment& segment) {
  const ModelShape& s = shape_;
  const Workspace& w = workspace_;
  const int64_t first = segment.first_row, rows = segment.rows;
  const int64_t q_width = int64_t{s.heads} * s.qk_dim(), v_width = int64_t{s.heads} * s.v_dim;
  const int32_t kv_width = s.heads * (s.qk_nope_dim + s.v_dim);
  const int64_t pairs = s.qk_rope_dim / 2;
  const auto q = w.q.part<bf16>(first * q_width, rows * q_width);
  RotateQuery(stream_, {.tokens = segment.rows,
                        .heads = s.heads,
                        .rope = s.qk_rope_dim,
                        .from = q + s.qk_nope_dim,
                        .from_token = q_width,
                        .from_head = s.qk_dim(),
                        .to = q + s.qk_nope_dim,
                        .to_token = q_width,
                        .to_head = s.qk_dim(),
                        .cos = inputs.cos() + first * pairs,
                        .sin = inputs.sin() + first * pairs});
  const int32_t keys = segment.kv_len + segment.rows;
  for (int32_t begin = 0; begin < keys; begin += kNaiveKeys) {
    const int32_t len = std::min(kNaiveKeys, keys - begin);
    const auto gathered = w.gathered.part<bf16>(0, int64_t{len} * s.cache_dim());
    const auto kv = w.kv.part<bf16>(0, int64_t{len} * kv_width);
    GatherLatents(stream_,
                  {.begin = begin,
                   .len = len,
                   .dim = s.cache_dim(),
                   .pages = inputs.pages() + int64_t{segment.table_row} * inputs.key().max_pages,
                   .cache = cache_[layer.value].as<bf16>(),
                   .out = gathered});
    gemm_.Linear({.rows = len,
                  .outputs = kv_width,
                  .inputs = s.kv_lora_rank,
                  .x = gathered,
                  .w = weights.kv_b.as<bf16>(),
                  .y_bf16 = kv,
                  .x_row = s.cache_dim()});
    MlaPrefill(stream_, {.tokens = segment.rows,
                         .kv_len = segment.kv_len,
                         .heads = s.heads,
                         .nope = s.qk_nope_dim,
                         .rope = s.qk_rope_dim,
                         .v = s.v_dim,
                         .scale = scale_,
                         .begin = begin,
                         .len = len,
                         .first = begin == 0,
                         .last = begin + len == keys,
                         .q = q,
                         .kv = kv,
                         .k_pe = gathered + s.kv_lora_rank,
                         .k_pe_row = s.cache_dim(),
                         .acc = w.acc.part<float>(0, rows * v_width),
                         .max = w.max.part<float>(0, rows * s.heads),
                         .sum = w.sum.part<float>(0, rows * s.heads),
                         .out = w.attended.part<bf16>(first * v_width, rows * v_width)});
  }
}

}  // namespace tandem::TANDEM_GPU
