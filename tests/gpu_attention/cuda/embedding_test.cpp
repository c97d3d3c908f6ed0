#include "gpu_attention/cuda/embedding.h"

#include "gpu_attention/cuda/embedding_reference.h"
#include "tests/gpu_attention/cuda/gpu_test.h"

namespace tandem::TANDEM_GPU {
namespace {

struct Shape {
  int32_t tokens, hidden;
};
constexpr Shape kShapes[] = {{1, 8}, {1, 96}, {5, 160}, {3, 2048}, {2, 2056}, {4, 7168}};

class EmbeddingTest : public GpuTest {};

TEST_F(EmbeddingTest, IsExact) {
  constexpr int32_t kVocab = 37;
  for (const Shape& s : kShapes) {
    const std::vector<bf16> table = ToBf16s(RandomFloats(int64_t{kVocab} * s.hidden, 1));
    std::vector<int32_t> ids = {36, 0, 17, 17, 1};  // the table's ends, one twice
    ids.resize(s.tokens);
    const DeviceTensor<bf16> device_table(table);
    const DeviceTensor<int32_t> device_ids(ids);
    const DeviceTensor<float> h(int64_t{s.tokens} * s.hidden);
    Embedding(*stream_, {.tokens = s.tokens,
                         .hidden = s.hidden,
                         .ids = device_ids.view(),
                         .table = device_table.view(),
                         .h = h.data()});
    std::vector<float> want(int64_t{s.tokens} * s.hidden);
    EmbeddingReference(s.tokens, s.hidden, ids.data(), table.data(), want.data());
    EXPECT_EQ(h.Read(*stream_), want) << s.tokens << " x " << s.hidden;
  }
}

TEST_F(EmbeddingTest, NoTokensDoNothing) {
  const DeviceTensor<float> h(8);
  Embedding(*stream_, {.tokens = 0, .hidden = 8, .h = h.data()});
  for (float x : h.Read(*stream_)) EXPECT_TRUE(std::isnan(x));
}

}  // namespace
}  // namespace tandem::TANDEM_GPU
