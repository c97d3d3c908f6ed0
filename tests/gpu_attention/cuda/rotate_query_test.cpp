#include "gpu_attention/cuda/rotate_query.h"

#include "gpu_attention/cuda/rotate_query_reference.h"
#include "tests/gpu_attention/cuda/gpu_test.h"
#include "tests/gpu_attention/cuda/worst_error.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t tokens, heads, nope, rope, latent;
};
constexpr Shape kShapes[] = {{1, 1, 32, 32, 32},
                             {3, 3, 24, 16, 48},
                             {2, 5, 16, 8, 64},
                             {1, 7, 20, 2, 24},
                             {2, 64, 128, 64, 512}};

class RotateQueryTest : public GpuTest {
 protected:
  // Rotates q's tails into rows of `prefix + rope`, or in place if prefix is negative.
  void Check(const Shape& s, int32_t prefix) {
    SCOPED_TRACE(testing::Message() << s.tokens << " tokens, " << s.heads << " heads");
    const int64_t from_head = s.nope + s.rope, n_heads = int64_t{s.tokens} * s.heads;
    const int64_t to_head = prefix < 0 ? from_head : prefix + s.rope;
    const int64_t to_first = prefix < 0 ? s.nope : prefix;
    const std::vector<bf16> q = ToBf16s(RandomFloats(n_heads * from_head, 1));
    const std::vector<float> cos = RandomFloats(s.tokens * s.rope / 2, 2);
    const std::vector<float> sin = RandomFloats(s.tokens * s.rope / 2, 3);
    const DeviceTensor<bf16> device_q(q), query(n_heads * to_head);
    const DeviceTensor<float> device_cos(cos), device_sin(sin);
    RotateQuery(*stream_, {.tokens = s.tokens,
                           .heads = s.heads,
                           .rope = s.rope,
                           .from = device_q.view() + s.nope,
                           .from_token = s.heads * from_head,
                           .from_head = from_head,
                           .to = (prefix < 0 ? device_q : query).data() + to_first,
                           .to_token = s.heads * to_head,
                           .to_head = to_head,
                           .cos = device_cos.view(),
                           .sin = device_sin.view()});

    std::vector<bf16> want = prefix < 0 ? q : std::vector<bf16>(n_heads * to_head, bf16{0xffff});
    for (int64_t i = 0; i < n_heads; ++i) {
      const int64_t angle = i / s.heads * (s.rope / 2);
      RotateQueryReference(s.rope, q.data() + i * from_head + s.nope, cos.data() + angle,
                           sin.data() + angle, want.data() + i * to_head + to_first);
    }
    const std::vector<bf16> got = (prefix < 0 ? device_q : query).Read(*stream_);
    ASSERT_EQ(got.size(), want.size());
    std::vector<bf16> got_tails, want_tails;
    for (size_t i = 0; i < got.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i) % to_head - to_first;
      if (at >= 0 && at < s.rope) {
        got_tails.push_back(got[i]), want_tails.push_back(want[i]);
      } else {
        ASSERT_EQ(got[i].bits, want[i].bits) << "touched at " << i;
      }
    }
    EXPECT_EQ(WorstError(ToFloats(got_tails), ToFloats(want_tails), kBf16Step, 1e-5f), "");
  }
};

TEST_F(RotateQueryTest, IntoTheAbsorbedQuery) {
  for (const Shape& s : kShapes) Check(s, s.latent);
}

TEST_F(RotateQueryTest, InPlace) {
  for (const Shape& s : kShapes) Check(s, -1);
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
