#include <cmath>
#include <cstring>
#include <numeric>

#include "core/memory.h"
#include "tests/gpu_attention/kernels_under_test.h"

namespace tandem {
namespace {

struct Case {
  int32_t rows, latent, rope, tokens;  // tokens: cached, the longest row sees all of them
};
// One row; 3 and 5 rows (not a multiple of the register block); lengths around a page.
constexpr Case kCases[] = {{1, 16, 16, 1}, {3, 32, 16, 63},  {4, 48, 8, 64},
                           {5, 16, 2, 65}, {9, 64, 16, 129}, {32, 48, 16, 200}};

struct Problem {
  explicit Problem(const Case& c, uint32_t seed) : shape(c) {
    dim = c.latent + c.rope;
    padded = (dim + 15) / 16 * 16;
    n_pages = (c.tokens + 63) / 64;
    cache = RandomBf16(size_t(n_pages + 2) * 64 * dim, seed);
    // Pages out of order, with NaN wherever no row may look.
    pages.resize(n_pages);
    std::iota(pages.rbegin(), pages.rend(), 1);
    std::vector<bool> seen(cache.size());
    for (int32_t s = 0; s < c.tokens; ++s)
      for (int32_t d = 0; d < dim; ++d) seen[(pages[s / 64] * 64 + s % 64) * dim + d] = true;
    for (size_t i = 0; i < cache.size(); ++i)
      if (!seen[i]) cache[i] = ToBf16(NAN);
    queries = RandomFloats(size_t(c.rows) * padded, seed + 1);
    visible.resize(c.rows);
    for (int32_t r = 0; r < c.rows; ++r) {
      visible[r] = std::max(1, c.tokens - (r * 37) % c.tokens);
      for (int32_t d = dim; d < padded; ++d) queries[size_t(r) * padded + d] = 0;
    }
  }

  std::vector<float> Run(const DenseKernels& kernels, int32_t first, int32_t rows) const {
    NumaBuffer scratch = *NumaBuffer::Allocate(AttendScratchFloats(padded, rows) * sizeof(float));
    std::vector<float> out(size_t(rows) * shape.latent + 1, 99.0f);
    kernels.attend({.queries = queries.data() + size_t(first) * padded,
                    .queries_stride = padded,
                    .visible = visible.data() + first,
                    .rows = rows,
                    .cache = cache.data(),
                    .pages = pages.data(),
                    .cache_dim = dim,
                    .latent_dim = shape.latent,
                    .padded_dim = padded,
                    .scale = kScale,
                    .out = out.data(),
                    .out_stride = shape.latent,
                    .scratch = scratch.as<float>()});
    EXPECT_EQ(out.back(), 99.0f);
    out.pop_back();
    return out;
  }

  float Cached(int32_t s, int32_t d) const {
    return ToFloat(cache[(size_t(pages[s / 64]) * 64 + s % 64) * dim + d]);
  }

  std::vector<double> Want(int32_t row) const {
    std::vector<double> p(visible[row]), out(shape.latent);
    double max = -1e300, sum = 0;
    for (int32_t s = 0; s < visible[row]; ++s) {
      for (int32_t d = 0; d < dim; ++d)
        p[s] += double{queries[size_t(row) * padded + d]} * Cached(s, d);
      p[s] *= kScale;
      max = std::max(max, p[s]);
    }
    for (double& v : p) sum += v = std::exp(v - max);
    for (int32_t s = 0; s < visible[row]; ++s)
      for (int32_t d = 0; d < shape.latent; ++d) out[d] += p[s] / sum * Cached(s, d);
    return out;
  }

  static constexpr float kScale = 0.17f;
  Case shape;
  int32_t dim, padded, n_pages;
  std::vector<bf16> cache;
  std::vector<int32_t> pages;
  std::vector<float> queries;
  std::vector<int32_t> visible;
};

class AttendTest : public KernelTest {};
TANDEM_TEST_ALL_KERNELS(AttendTest);

TEST_P(AttendTest, AgreesWithDoubleSoftmax) {
  for (const Case& c : kCases) {
    const Problem problem(c, 11);
    const std::vector<float> out = problem.Run(kernels(), 0, c.rows);
    for (int32_t r = 0; r < c.rows; ++r) {
      const std::vector<double> want = problem.Want(r);
      for (int32_t d = 0; d < c.latent; ++d)
        ASSERT_NEAR(out[size_t(r) * c.latent + d], want[d], 2e-5)
            << c.tokens << " tokens, row " << r << " of " << c.rows << ", dim " << d;
    }
  }
}

TEST_P(AttendTest, ARowsBitsDoNotDependOnItsNeighbours) {
  for (const Case& c : kCases) {
    const Problem problem(c, 12);
    const std::vector<float> all = problem.Run(kernels(), 0, c.rows);
    for (int32_t r = 0; r < c.rows; ++r) {
      const std::vector<float> one = problem.Run(kernels(), r, 1);
      ASSERT_EQ(std::memcmp(one.data(), all.data() + size_t(r) * c.latent, c.latent * 4), 0)
          << c.tokens << " tokens, row " << r << " of " << c.rows;
    }
  }
}

}  // namespace
}  // namespace tandem
