#include "gpu_attention/cuda/mla_decode.h"

#include <algorithm>
#include <numeric>

#include "gpu_attention/cuda/mla_decode_reference.h"
#include "gpu_attention/step_batch.h"
#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/worst_error.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr int64_t kH100 = 227 << 10, kA100 = 163 << 10, kGeForce = 99 << 10;

struct Case {
  int32_t heads, latent, rope;
  int32_t n_splits;
  int64_t shared_bytes;  // chooses the variant
  std::vector<int32_t> kv_len;
};
const std::vector<Case> kCases = {
    // Lengths around a page and its parts, for the kernel of few heads.
    {1, 32, 32, 1, kGeForce, {1}},
    {4, 64, 16, 3, kGeForce, {0, 1, 15, 16, 17, 31, 32, 33}},
    {3, 96, 16, 2, kGeForce, {63, 64, 65, 127, 128, 129, 200}},
    {5, 64, 8, 8, kGeForce, {0, 5, 300}},
    {16, 40, 24, 1, kH100, {130}},
    {2, 512, 64, 2, kGeForce, {70}},
    // 32 heads a block, 16 tokens a tile; the last head group not full.
    {17, 48, 16, 2, kGeForce, {63, 64, 65, 1}},
    {70, 24, 8, 2, 20 << 10, {0, 17, 150}},
    // 64 heads a block, 32 tokens a tile.
    {33, 64, 16, 2, 30 << 10, {31, 33, 64, 65}},
    {66, 48, 16, 1, 30 << 10, {100}},
    // 64 heads a block, 64 tokens a tile.
    {33, 64, 16, 2, kH100, {63, 64, 65, 200}},
    {72, 120, 40, 3, kH100, {0, 1, 190}},
    // K2.6's width in each of them.
    {64, 512, 64, 1, kH100, {129}},
    {64, 512, 64, 2, kA100, {70}},
    {64, 512, 64, 1, kGeForce, {35}},
};

// Random queries; pages in no order, NaN wherever no row may look.
struct Problem {
  Problem(const Case& c, uint32_t seed, float spread = 0.5f) : shape(c), dim(c.latent + c.rope) {
    const auto rows = static_cast<int32_t>(c.kv_len.size());
    query = ToBf16s(RandomFloats(int64_t{rows} * c.heads * dim, seed, spread));
    max_pages = 2;
    int32_t n_pages = 1;
    for (int32_t len : c.kv_len) {
      max_pages = std::max(max_pages, (len + kPageTokens - 1) / kPageTokens + 1);
      n_pages += (len + kPageTokens - 1) / kPageTokens;
    }
    cache.assign(int64_t{n_pages} * kPageTokens * dim, bf16{0xffff});
    pages.assign(int64_t{rows} * max_pages, 1 << 30);  // an entry that nobody may use
    int32_t next = n_pages;
    for (int32_t r = 0; r < rows; ++r) {
      for (int32_t s = 0; s < c.kv_len[r]; ++s) {
        int32_t& page = pages[int64_t{r} * max_pages + s / kPageTokens];
        if (s % kPageTokens == 0) page = --next;
        const auto values = ToBf16s(RandomFloats(dim, seed + 7 + r * 1000 + s));
        std::copy(values.begin(), values.end(),
                  cache.begin() + (int64_t{page} * kPageTokens + s % kPageTokens) * dim);
      }
    }
  }

  std::vector<float> Want() const {
    const int64_t row_elems = int64_t{shape.heads} * shape.latent;
    std::vector<float> want(shape.kv_len.size() * row_elems);
    for (size_t r = 0; r < shape.kv_len.size(); ++r) {
      MlaDecodeReference({.heads = shape.heads,
                          .latent = shape.latent,
                          .rope = shape.rope,
                          .scale = kScale,
                          .query = query.data() + int64_t(r) * shape.heads * dim,
                          .cache = cache.data(),
                          .pages = pages.data() + int64_t(r) * max_pages,
                          .kv_len = shape.kv_len[r],
                          .out = want.data() + int64_t(r) * row_elems});
    }
    return want;
  }

  std::vector<bf16> Run(Stream& stream, int32_t first, int32_t rows) const {
    const DecodeWorkspace workspace =
        DecodeWorkspaceFor(rows, shape.n_splits, shape.heads, shape.latent);
    const std::vector<int32_t> lens(shape.kv_len.begin() + first,
                                    shape.kv_len.begin() + first + rows);
    const DeviceTensor<bf16> device_query(query), device_cache(cache);
    const DeviceTensor<int32_t> device_pages(pages), device_lens(lens);
    const DeviceTensor<float> partial(workspace.partial_elems), lse(workspace.lse_elems);
    const DeviceTensor<bf16> out(int64_t{rows} * shape.heads * shape.latent);
    MlaDecode(stream, {.rows = rows,
                       .heads = shape.heads,
                       .latent = shape.latent,
                       .rope = shape.rope,
                       .scale = kScale,
                       .n_splits = shape.n_splits,
                       .shared_bytes_per_block = shape.shared_bytes,
                       .query = device_query.view() + int64_t{first} * shape.heads * dim,
                       .cache = device_cache.view(),
                       .pages = device_pages.view() + int64_t{first} * max_pages,
                       .pages_row = max_pages,
                       .kv_len = device_lens.view(),
                       .partial = partial.data(),
                       .lse = lse.data(),
                       .out = out.data()});
    partial.Read(stream), lse.Read(stream);  // their guards
    return out.Read(stream);
  }

  static constexpr float kScale = 0.17f;
  Case shape;
  int32_t dim, max_pages;
  std::vector<bf16> query, cache;
  std::vector<int32_t> pages;
};

class MlaDecodeTest : public GpuTest {};

// p and the output are rounded to BF16: half a step each of values whose typical size is `spread`
// of the weighted latents; errors of p average out.
TEST_F(MlaDecodeTest, AgreesWithTheReference) {
  for (const Case& c : kCases) {
    if (c.shared_bytes > device_.shared_bytes_per_block) continue;
    SCOPED_TRACE(testing::Message() << c.heads << " heads, " << c.latent << " + " << c.rope << ", "
                                    << c.n_splits << " splits, " << c.shared_bytes);
    const Problem problem(c, 1);
    const std::vector<float> got =
        ToFloats(problem.Run(*stream_, 0, static_cast<int32_t>(c.kv_len.size())));
    EXPECT_EQ(WorstError(got, problem.Want(), kBf16Step, 0.004f), "");
  }
}

// Large scores: one token takes nearly all, maxima change from tile to tile.
TEST_F(MlaDecodeTest, SteepSoftmax) {
  const Problem problem({3, 64, 16, 2, kGeForce, {200, 65}}, 3, 20.0f);
  EXPECT_EQ(WorstError(ToFloats(problem.Run(*stream_, 0, 2)), problem.Want(), kBf16Step, 0.004f),
            "");
}

TEST_F(MlaDecodeTest, ARowsBitsDoNotDependOnTheOthers) {
  const Problem problem({5, 64, 8, 3, kGeForce, {90, 1, 200}}, 5);
  const std::vector<bf16> all = problem.Run(*stream_, 0, 3);
  for (int32_t r = 0; r < 3; ++r) {
    const std::vector<bf16> alone = problem.Run(*stream_, r, 1);
    for (size_t i = 0; i < alone.size(); ++i)
      ASSERT_EQ(alone[i].bits, all[r * alone.size() + i].bits) << "row " << r << " at " << i;
  }
}

TEST(DecodeSplits, FillsTheDevice) {
  EXPECT_EQ(DecodeSplits(8, 64, 32768, 132, kH100), 16);    // 128 blocks of 32 pages
  EXPECT_EQ(DecodeSplits(1, 64, 262144, 132, kH100), 128);  // 32 pages, too, as with 132
  EXPECT_EQ(DecodeSplits(1, 64, 1, 132, kH100), 1);
  EXPECT_EQ(DecodeSplits(132, 64, 32768, 132, kH100), 1);
  EXPECT_EQ(DecodeSplits(1, 64, 32768, 128, kGeForce), 64);  // two head groups
  EXPECT_EQ(DecodeSplits(1, 64, 0, 132, kH100), 1);
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
