#include "gpu_attention/cuda/mla_prefill.h"

#include <algorithm>

#include "gpu_attention/cuda/mla_prefill_reference.h"
#include "gpu_attention/step_batch.h"
#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/worst_error.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Case {
  int32_t tokens, kv_len, heads, nope, rope, v;
  int32_t block;  // keys per call
};
const std::vector<Case> kCases = {
    {1, 0, 1, 32, 32, 16, 64},     {65, 0, 3, 24, 16, 40, 64},   {64, 63, 2, 32, 16, 32, 1000},
    {3, 64, 5, 16, 8, 24, 40},     {130, 65, 1, 24, 16, 20, 96},  // v no multiple of 8
    {70, 200, 4, 32, 16, 32, 128}, {1, 200, 3, 24, 16, 40, 200}, {5, 63, 2, 48, 20, 68, 33},
    {66, 62, 2, 128, 64, 128, 64},  // K2.6's heads
};

struct Problem {
  explicit Problem(const Case& c) : shape(c), keys(c.kv_len + c.tokens) {
    q = ToBf16s(RandomFloats(int64_t{c.tokens} * c.heads * (c.nope + c.rope), 1));
    kv = ToBf16s(RandomFloats(int64_t{keys} * c.heads * (c.nope + c.v), 2));
    // The keys' rotary parts are tails of longer rows.
    k_pe = ToBf16s(RandomFloats(int64_t{keys} * c.rope, 3));
    latents.assign(int64_t{keys} * (kLatent + c.rope), bf16{0xffff});
    for (int64_t s = 0; s < keys; ++s)
      std::copy_n(k_pe.begin() + s * c.rope, c.rope,
                  latents.begin() + s * (kLatent + c.rope) + kLatent);
  }

  std::vector<float> Want() const {
    std::vector<float> want(int64_t{shape.tokens} * shape.heads * shape.v);
    MlaPrefillReference({.tokens = shape.tokens,
                         .kv_len = shape.kv_len,
                         .heads = shape.heads,
                         .nope = shape.nope,
                         .rope = shape.rope,
                         .v = shape.v,
                         .scale = kScale,
                         .q = q.data(),
                         .kv = kv.data(),
                         .k_pe = k_pe.data(),
                         .out = want.data()});
    return want;
  }

  // Block by block; each block's keys lie in a tensor of their own.
  std::vector<bf16> Run(Stream& stream) const {
    const Case& c = shape;
    const int64_t rows = int64_t{c.tokens} * c.heads, kv_row = int64_t{c.heads} * (c.nope + c.v);
    const int64_t latent_row = kLatent + c.rope;
    const DeviceTensor<bf16> device_q(q), out(rows * c.v);
    const DeviceTensor<float> acc(rows * c.v), max(rows), sum(rows);
    for (int32_t begin = 0; begin < keys; begin += c.block) {
      const int32_t len = std::min(c.block, keys - begin);
      const DeviceTensor<bf16> block_kv(
          std::vector<bf16>(kv.begin() + begin * kv_row, kv.begin() + (begin + len) * kv_row));
      const DeviceTensor<bf16> block_latents(std::vector<bf16>(
          latents.begin() + begin * latent_row, latents.begin() + (begin + len) * latent_row));
      MlaPrefill(stream, {.tokens = c.tokens,
                          .kv_len = c.kv_len,
                          .heads = c.heads,
                          .nope = c.nope,
                          .rope = c.rope,
                          .v = c.v,
                          .scale = kScale,
                          .begin = begin,
                          .len = len,
                          .first = begin == 0,
                          .last = begin + len == keys,
                          .q = device_q.view(),
                          .kv = block_kv.view(),
                          .k_pe = block_latents.view() + kLatent,
                          .k_pe_row = latent_row,
                          .acc = acc.data(),
                          .max = max.data(),
                          .sum = sum.data(),
                          .out = out.data()});
      acc.Read(stream), max.Read(stream), sum.Read(stream);  // their guards
    }
    return out.Read(stream);
  }

  static constexpr float kScale = 0.15f;
  static constexpr int32_t kLatent = 40;
  Case shape;
  int32_t keys;
  std::vector<bf16> q, kv, k_pe, latents;
};

class MlaPrefillTest : public GpuTest {};

TEST_F(MlaPrefillTest, AgreesWithCausalAttention) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message()
                 << c.tokens << " tokens after " << c.kv_len << ", " << c.heads << " heads of "
                 << c.nope << " + " << c.rope << ", " << c.v << ", blocks of " << c.block);
    const Problem problem(c);
    EXPECT_EQ(WorstError(ToFloats(problem.Run(*stream_)), problem.Want(), kBf16Step, 0.006f), "");
  }
}

// A sequence in chunks is the sequence in one piece.
TEST_F(MlaPrefillTest, ChunksMakeUpTheSequence) {
  constexpr int32_t kTokens = 210, kHeads = 2, kNope = 24, kRope = 16, kV = 40;
  const Problem whole({kTokens, 0, kHeads, kNope, kRope, kV, 80});
  const std::vector<float> want = whole.Want();
  const int32_t starts[] = {0, 63, 64, 65, 200, kTokens};
  for (size_t i = 0; i + 1 < std::size(starts); ++i) {
    const int32_t kv_len = starts[i], tokens = starts[i + 1] - kv_len, keys = kv_len + tokens;
    Problem chunk({tokens, kv_len, kHeads, kNope, kRope, kV, 80});
    const int64_t q_row = kHeads * (kNope + kRope);
    chunk.q.assign(whole.q.begin() + kv_len * q_row, whole.q.begin() + keys * q_row);
    chunk.kv.assign(whole.kv.begin(), whole.kv.begin() + int64_t{keys} * kHeads * (kNope + kV));
    chunk.latents.assign(whole.latents.begin(),
                         whole.latents.begin() + int64_t{keys} * (Problem::kLatent + kRope));
    const std::vector<float> part(want.begin() + kv_len * kHeads * kV,
                                  want.begin() + keys * kHeads * kV);
    EXPECT_EQ(WorstError(ToFloats(chunk.Run(*stream_)), part, kBf16Step, 0.006f), "")
        << "chunk from " << kv_len;
  }
}

TEST_F(MlaPrefillTest, GathersScatteredPages) {
  struct Range {
    int32_t begin, len, dim;
  };
  const std::vector<int32_t> pages = {3, 0, 4, 1};
  for (const Range& r : std::vector<Range>{
           {0, 1, 64}, {0, 256, 64}, {63, 2, 72}, {64, 64, 112}, {1, 200, 576}, {5, 0, 64}}) {
    const std::vector<bf16> cache = ToBf16s(RandomFloats(5 * kPageTokens * r.dim, 9));
    const DeviceTensor<bf16> device_cache(cache), out(int64_t{r.len} * r.dim);
    const DeviceTensor<int32_t> device_pages(pages);
    GatherLatents(*stream_, {.begin = r.begin,
                             .len = r.len,
                             .dim = r.dim,
                             .pages = device_pages.view(),
                             .cache = device_cache.view(),
                             .out = out.data()});
    const std::vector<bf16> got = out.Read(*stream_);
    for (int32_t i = 0; i < r.len * r.dim; ++i) {
      const int32_t position = r.begin + i / r.dim;
      const int64_t token =
          int64_t{pages[position / kPageTokens]} * kPageTokens + position % kPageTokens;
      ASSERT_EQ(got[i].bits, cache[token * r.dim + i % r.dim].bits) << "at " << i;
    }
  }
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
