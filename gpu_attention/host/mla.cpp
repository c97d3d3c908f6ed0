#include "gpu_attention/host/mla.h"

#include <algorithm>

#include "gpu_attention/host/linear.h"
#include "gpu_attention/rope.h"

namespace tandem {
namespace {

// Tokens that go through the per-head stages together: enough to reuse a head's weights, few
// enough that their queries (147 KB a token at K2.6's width) stay in the caches.
constexpr int32_t kBlockTokens = 64;
// Rows of one kernel call at most: a page is converted once for all of them, and their queries and
// sums share the second-level cache with it.
constexpr int32_t kPieceRows = 32;

constexpr int32_t RoundUp(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

float MlaEps(const ModelShape& s) { return s.mla_norm_eps > 0 ? s.mla_norm_eps : s.rms_norm_eps; }

}  // namespace

struct Mla::Call {
  const HostContext& context;
  const HostStep& step;
  const MlaWeights& weights;
  LatentCache& cache;
  int32_t layer;
};

absl::StatusOr<Mla> Mla::Create(const HostContext& context) {
  const ModelShape& s = context.shape;
  const int32_t block = std::min(kBlockTokens, context.max_tokens);
  Mla m;
  m.padded_dim_ = RoundUp(s.cache_dim(), 16);
  // The up-projection writes whole panels, so a row has room for them.
  m.query_stride_ = std::max(m.padded_dim_, RoundUp(s.kv_lora_rank, kDensePanelRows));
  TANDEM_ASSIGN_OR_RETURN(
      m.qa_kva_, RowBuffer::Allocate(context.max_tokens,
                                     RoundUp(s.q_lora_rank + s.cache_dim(), kDensePanelRows)));
  TANDEM_ASSIGN_OR_RETURN(m.attended_,
                          RowBuffer::Allocate(context.max_tokens, int64_t{s.heads} * s.v_dim));
  TANDEM_ASSIGN_OR_RETURN(
      m.out_, RowBuffer::Allocate(context.max_tokens, RoundUp(s.hidden, kDensePanelRows)));
  TANDEM_ASSIGN_OR_RETURN(
      m.queries_, NumaBuffer::Allocate(sizeof(float) * block * s.heads * int64_t{m.query_stride_}));
  TANDEM_ASSIGN_OR_RETURN(
      m.latents_, NumaBuffer::Allocate(sizeof(float) * block * s.heads * int64_t{s.kv_lora_rank}));
  m.visible_.resize(int64_t{block} * s.heads);
  m.scratch_.resize(context.team.size());
  for (Scratch& scratch : m.scratch_) {
    TANDEM_ASSIGN_OR_RETURN(
        scratch.head,
        RowBuffer::Allocate(block, RoundUp(std::max(s.qk_dim(), s.v_dim), kDensePanelRows)));
    TANDEM_ASSIGN_OR_RETURN(
        scratch.activations,
        ActivationBuffer::Allocate(block, std::max(s.qk_nope_dim, s.kv_lora_rank)));
    TANDEM_ASSIGN_OR_RETURN(
        scratch.attend,
        NumaBuffer::Allocate(sizeof(float) * AttendScratchFloats(m.padded_dim_, kPieceRows)));
  }
  return m;
}

void Mla::Forward(const HostContext& context, const HostStep& step, const MlaWeights& weights,
                  LatentCache& cache, int32_t layer, ActivationBuffer& activations,
                  const View<float, 2>& x, const View<float, 2>& h) {
  const ModelShape& s = context.shape;
  const Call call = {context, step, weights, cache, layer};
  ForRows(context.team, step.tokens, s.hidden, [&](int64_t t) {
    context.kernels.rms_norm(h.row(t), weights.input_norm.data(), s.hidden, s.rms_norm_eps,
                             x.row(t));
  });
  LinearInput in = activations.Prepare(context.kernels, context.format, x, &context.team);
  Linear(context.kernels, weights.qa_kva, in, context.team,
         qa_kva_.Rows(step.tokens, weights.qa_kva.padded_rows()));
  WriteLatents(call);
  if (s.q_lora_rank > 0) {
    in = activations.Prepare(context.kernels, context.format,
                             qa_kva_.Rows(step.tokens, s.q_lora_rank), &context.team);
  }
  for (int32_t first = 0; first < step.tokens; first += kBlockTokens) {
    const int32_t tokens = std::min(kBlockTokens, step.tokens - first);
    AbsorbQueries(call, in, first, tokens);
    Attend(call, first, tokens);
    UpProject(call, first, tokens);
  }
  in = activations.Prepare(context.kernels, context.format,
                           attended_.Rows(step.tokens, int64_t{s.heads} * s.v_dim), &context.team);
  const View<float, 2> out = out_.Rows(step.tokens, weights.o_proj.padded_rows());
  Linear(context.kernels, weights.o_proj, in, context.team, out);
  AddRows(context.team, out, h);
}

// Norms the low-rank query in place; norms, rotates and caches the latent and the shared key.
void Mla::WriteLatents(const Call& call) {
  const ModelShape& s = call.context.shape;
  const int32_t pairs = s.qk_rope_dim / 2;
  ForRows(call.context.team, call.step.tokens, s.q_lora_rank + s.cache_dim(), [&](int64_t t) {
    float* query = qa_kva_.row(t);
    float* latent = query + s.q_lora_rank;
    float* key = latent + s.kv_lora_rank;
    if (s.q_lora_rank > 0) {
      call.context.kernels.rms_norm(query, call.weights.q_a_norm.data(), s.q_lora_rank, MlaEps(s),
                                    query);
    }
    call.context.kernels.rms_norm(latent, call.weights.kv_a_norm.data(), s.kv_lora_rank, MlaEps(s),
                                  latent);
    Rotate(key, &call.step.cos[t * pairs], &call.step.sin[t * pairs], pairs, key);
    const int32_t position = call.step.positions[t];
    bf16* to = call.cache.token(call.layer, call.step.pages[t][position / kPageTokens],
                                position % kPageTokens);
    for (int32_t d = 0; d < s.cache_dim(); ++d) to[d] = ToBf16(latent[d]);
  });
}

// queries_[t, h] = (w_uk[h]^T q_nope[t, h], rotate(q_pe[t, h]), zeros)
void Mla::AbsorbQueries(const Call& call, const LinearInput& in, int32_t first, int32_t tokens) {
  const ModelShape& s = call.context.shape;
  const MlaWeights& w = call.weights;
  const int32_t pairs = s.qk_rope_dim / 2;
  LinearInput block = in;
  block.tokens = tokens;
  if (block.x != nullptr) block.x += first * block.x_stride;
  if (block.xq != nullptr) {
    block.xq += first * block.xq_stride;
    block.scales += first * block.scales_stride;
  }
  call.context.team.ParallelFor(s.heads, 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch& scratch = scratch_[worker];
    for (auto head = static_cast<int32_t>(begin); head < end; ++head) {
      LinearPanelRange(call.context.kernels, w.q_b, head, 0, w.q_b.panels(), block,
                       scratch.head.row(0), scratch.head.stride());
      const LinearInput nope = scratch.activations.Prepare(
          call.context.kernels, w.w_uk.format(), scratch.head.Rows(tokens, s.qk_nope_dim), nullptr);
      const int64_t stride = int64_t{s.heads} * query_stride_;
      float* query = queries_.as<float>() + int64_t{head} * query_stride_;
      LinearPanelRange(call.context.kernels, w.w_uk, head, 0, w.w_uk.panels(), nope, query, stride);
      for (int32_t t = 0; t < tokens; ++t, query += stride) {
        const int64_t angle = int64_t{first + t} * pairs;
        Rotate(scratch.head.row(t) + s.qk_nope_dim, &call.step.cos[angle], &call.step.sin[angle],
               pairs, query + s.kv_lora_rank);
        std::fill(query + s.cache_dim(), query + padded_dim_, 0.0f);
      }
    }
  });
}

// latents_[t, h] = softmax-weighted sum of the cached latents that token t sees
void Mla::Attend(const Call& call, int32_t first, int32_t tokens) {
  const ModelShape& s = call.context.shape;
  pieces_.clear();
  for (int32_t t = 0; t < tokens; ++t) {
    for (int32_t head = 0; head < s.heads; ++head)
      visible_[t * s.heads + head] = call.step.positions[first + t] + 1;
  }
  for (const SequenceSlice& slice : call.step.sequences) {
    const int32_t begin = std::max(slice.first_row, first);
    const int32_t end = std::min(slice.first_row + slice.tokens, first + tokens);
    if (begin >= end) continue;
    const int32_t rows = (end - begin) * s.heads;
    // A single decode token is cut so that every worker gets some heads.
    const int32_t size = std::clamp(RoundUp(rows / call.context.team.size(), 4), 4, kPieceRows);
    for (int32_t row = 0; row < rows; row += size) {
      pieces_.push_back(
          {(begin - first) * s.heads + row, std::min(size, rows - row), slice.pages.data()});
    }
  }
  const auto n = static_cast<int64_t>(pieces_.size());
  call.context.team.ParallelFor(n, 1, [&](int64_t piece_begin, int64_t piece_end, int worker) {
    for (int64_t i = piece_begin; i < piece_end; ++i) {
      const Piece& piece = pieces_[i];
      call.context.kernels.attend({
          .queries = queries_.as<float>() + int64_t{piece.first_row} * query_stride_,
          .queries_stride = query_stride_,
          .visible = visible_.data() + piece.first_row,
          .rows = piece.rows,
          .cache = call.cache.layer(call.layer),
          .pages = piece.pages,
          .cache_dim = s.cache_dim(),
          .latent_dim = s.kv_lora_rank,
          .padded_dim = padded_dim_,
          .scale = AttentionScale(s),
          .out = latents_.as<float>() + int64_t{piece.first_row} * s.kv_lora_rank,
          .out_stride = s.kv_lora_rank,
          .scratch = scratch_[worker].attend.as<float>(),
      });
    }
  });
}

// attended_[t, h] = w_uv[h] latents_[t, h]
void Mla::UpProject(const Call& call, int32_t first, int32_t tokens) {
  const ModelShape& s = call.context.shape;
  const PackedMatrix& w = call.weights.w_uv;
  call.context.team.ParallelFor(s.heads, 1, [&](int64_t begin, int64_t end, int worker) {
    Scratch& scratch = scratch_[worker];
    for (auto head = static_cast<int32_t>(begin); head < end; ++head) {
      const View<const float, 2> latents(latents_.as<float>() + int64_t{head} * s.kv_lora_rank,
                                         {tokens, s.kv_lora_rank},
                                         {int64_t{s.heads} * s.kv_lora_rank, 1});
      const LinearInput in =
          scratch.activations.Prepare(call.context.kernels, w.format(), latents, nullptr);
      LinearPanelRange(call.context.kernels, w, head, 0, w.panels(), in, scratch.head.row(0),
                       scratch.head.stride());
      for (int32_t t = 0; t < tokens; ++t)
        std::copy_n(scratch.head.row(t), s.v_dim,
                    attended_.row(first + t) + int64_t{head} * s.v_dim);
    }
  });
}

}  // namespace tandem
