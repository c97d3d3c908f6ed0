// Multi-head latent attention of one layer on the CPU, in the absorbed form for prefill and decode
// alike: queries are carried into the latent space once, and all heads then share one cached key.
//
//   a = w_qa x;  q[h] = w_qb[h] norm(a);  (c, k_pe) = w_kva x, c normed, k_pe rotated, both cached
//   u[h] = w_uk[h]^T q_nope[h];  score[s] = scale * (u[h] . c[s] + rotate(q_pe[h]) . k_pe[s])
//   o[h] = w_uv[h] (sum_s softmax(score)[s] c[s]);  out = w_o o
//
// One form for both keeps a token's bits the same wherever the prompt is cut into chunks. The naive
// form would save about a tenth of the dense side's work in a 512-token prefill and more in long
// ones (per query, key and head 320 multiply-adds instead of 1,088, plus the keys' up-projection).
#pragma once

#include <vector>

#include "core/status.h"
#include "gpu_attention/dense_weights.h"
#include "gpu_attention/host/activations.h"
#include "gpu_attention/host/host_context.h"
#include "gpu_attention/host/latent_cache.h"
#include "gpu_attention/host/packed_matrix.h"
#include "gpu_attention/host/rows.h"

namespace tandem {

// A layer's attention weights. kv_b is held once, cut into w_uk (transposed) and w_uv per head, in
// the same format as the other matrices.
struct MlaWeights {
  std::vector<float> input_norm, q_a_norm, kv_a_norm;
  PackedMatrix qa_kva;  // [q_lora_rank + cache_dim, hidden]
  PackedMatrix q_b;     // heads x [qk_dim, q_lora_rank or hidden]
  PackedMatrix w_uk;    // heads x [kv_lora_rank, qk_nope_dim]
  PackedMatrix w_uv;    // heads x [v_dim, kv_lora_rank]
  PackedMatrix o_proj;  // [hidden, heads * v_dim]

  static absl::StatusOr<MlaWeights> Load(const HostContext& context, const AttentionWeights& w);
  int64_t size_bytes() const;
};

// The workspace; one for all layers.
class Mla {
 public:
  static absl::StatusOr<Mla> Create(const HostContext& context);

  // h += attention(norm(h)), and the tokens' latents go to their pages. x is scratch for the normed
  // rows. h, x [tokens, hidden]
  void Forward(const HostContext& context, const HostStep& step, const MlaWeights& weights,
               LatentCache& cache, int32_t layer, ActivationBuffer& activations,
               const View<float, 2>& x, const View<float, 2>& h);

 private:
  // One worker's private memory.
  struct Scratch {
    RowBuffer head;                // [block, qk_dim or v_dim]: one head's queries or values
    ActivationBuffer activations;  // [block, qk_nope_dim or kv_lora_rank]
    NumaBuffer attend;
  };
  struct Call;  // the arguments of Forward()
  // Rows of one sequence that one kernel call attends with; a row is (token, head).
  struct Piece {
    int32_t first_row, rows;
    const int32_t* pages;
  };

  void WriteLatents(const Call& call);
  void AbsorbQueries(const Call& call, const LinearInput& in, int32_t first, int32_t tokens);
  void Attend(const Call& call, int32_t first, int32_t tokens);
  void UpProject(const Call& call, int32_t first, int32_t tokens);

  int32_t padded_dim_ = 0, query_stride_ = 0;
  RowBuffer qa_kva_, attended_, out_;  // [max_tokens, ...]
  NumaBuffer queries_, latents_;       // [block, heads, query_stride_], [block, heads, latent]
  std::vector<int32_t> visible_;       // [block, heads]
  std::vector<Piece> pieces_;
  std::vector<Scratch> scratch_;  // per worker
};

}  // namespace tandem
