// The GPU backend, emulated (by tools/gpu_check on a GPU): the whole dense side against a
// computation in double precision, and what happens when a step fails. The kernels by themselves:
// tests/gpu_attention/cuda.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "gpu_attention/expert_device.h"
#include "tests/gpu_attention/small_model.h"

namespace tandem {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// The GPU rounds every product's rows to BF16, 2^-9 each and some ten in a row per layer; the worst
// of some 25,000 logits was 1.6 % of their range off.
constexpr double kBound = 0.03;

// The shapes of the host's tests in sizes that the kernels take.
ModelShape OddGpuShape() {
  ModelShape s = OddShape();
  s.dense_intermediate = 172;
  return s;
}
ModelShape OneHeadGpuShape() {
  ModelShape s = OneHeadShape();
  s.dense_intermediate = 172;
  return s;
}

std::unique_ptr<DenseBackend> Create(const ModelShape& shape, const GpuOptions& gpu = {}) {
  auto backend = CreateEmulatedBackend(shape, {.max_tokens = 140, .kv_pages = kDriverPages}, gpu);
  TANDEM_CHECK(backend.ok(), backend.status().ToString().c_str());
  return *std::move(backend);
}

TEST(GpuBackend, AgreesWithADoubleComputation) {
  for (const ModelShape& shape : {OddGpuShape(), OneHeadGpuShape()}) {
    const SmallModel model(shape, 100);
    const auto sequences = ThreeSequences(shape);
    for (const bool graphs : {true, false}) {
      Driver driver(model, Create(shape, {.graphs = graphs}), sequences);
      RunMixed(driver);
      for (int i = 0; i < 3; ++i) {
        const double worst =
            WorstDifference(driver.logits(i), ReferenceLogits(model, sequences[i]));
        EXPECT_LT(worst, kBound) << shape.heads << " heads, sequence " << i;
        EXPECT_GT(worst, 1e-6) << "is this BF16?";
      }
    }
  }
}

TEST(GpuBackend, ACopiedPageServesAFork) {
  const SmallModel model(OddGpuShape(), 400);
  const auto ids = RandomIds(model.shape, 90, 1);
  auto fork = ids;
  fork[80] = (fork[80] + 1) % model.shape.vocab;
  Driver driver(model, Create(model.shape), {ids, fork});
  driver.RunAlone(0, 80);
  driver.backend().CopyPage(driver.pages(0)[1], 40);
  Driver whole(model, Create(model.shape), {fork});
  whole.RunAlone(0, 90);

  const std::vector<int32_t> pages = {driver.pages(0)[0], 40};
  const SequenceSlice forked = {0, 10, 80, pages};
  DenseBackend& backend = driver.backend();
  RunStep(model.shape, backend, {std::span(fork).subspan(80), {&forked, 1}});
  const int32_t last[] = {9};
  const View<const float, 2> logits = *backend.Logits(last);
  const std::vector<std::vector<float>> got = {{logits.row(0), logits.row(0) + model.shape.vocab}};
  EXPECT_LT(WorstDifference(got, std::vector<std::vector<float>>(1, whole.logits(0)[89])), kBound);
}

// A step of one row of one sequence, whose page is 0.
struct OneRow {
  int32_t id = 5;
  int32_t page = 0;
  SequenceSlice slice = {0, 1, 0, {&page, 1}};
  StepBatch batch() { return {{&id, 1}, {&slice, 1}}; }
};

std::unique_ptr<DenseBackend> Loaded(const SmallModel& model, const GpuOptions& gpu) {
  auto backend = Create(model.shape, gpu);
  TANDEM_CHECK(backend->LoadGlobals(model.globals).ok(), "globals load");
  for (int32_t l = 0; l < model.shape.layers; ++l)
    TANDEM_CHECK(backend->LoadLayer({l}, model.layers[l]).ok(), "layers load");
  return backend;
}

TEST(GpuBackend, ACpuThatDiesIsNamedAndTheNextStepWorks) {
  const SmallModel model(OddGpuShape(), 500);
  for (const bool graphs : {true, false}) {
    const auto backend = Loaded(model, {.graphs = graphs, .timeout = milliseconds(1000)});
    OneRow row;
    ASSERT_TRUE(backend->BeginStep(row.batch()).ok());
    for (int32_t l = 0; l < 2; ++l) {
      backend->Attention({l}, 0);
      if (l == 0) backend->DenseMlp({l}, 0);
    }
    backend->Route({1}, 0);
    ASSERT_TRUE(backend->Routed({1}, 0).ok());
    // Here the CPU should answer. Without a graph nothing waits for it, and the next doorbell is
    // what is missing.
    const absl::Status status = backend->Routed({2}, 0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(graphs ? "layer 1: the CPU's experts did not answer"
                                 : "layer 2: the GPU did not hand over its rows"));
    const int32_t rows[] = {0};
    EXPECT_EQ(backend->Logits(rows).status(), status) << "a lost step has no logits";

    RunStep(model.shape, *backend, row.batch());
    const auto logits = backend->Logits(rows);
    ASSERT_TRUE(logits.ok()) << logits.status();
    const std::vector<std::vector<float>> got = {
        {logits->row(0), logits->row(0) + model.shape.vocab}};
    EXPECT_LT(WorstDifference(got, ReferenceLogits(model, {row.id})), kBound);
  }
}

// What is under way then must not work on in freed memory, which AddressSanitizer would see.
TEST(GpuBackend, EndsInTheMiddleOfAStep) {
  const SmallModel model(OddGpuShape(), 500);
  for (const bool graphs : {true, false}) {
    auto backend = Loaded(model, {.graphs = graphs, .timeout = std::chrono::seconds(60)});
    OneRow row;
    ASSERT_TRUE(backend->BeginStep(row.batch()).ok());
    for (int32_t l = 0; l < 2; ++l) {
      backend->Attention({l}, 0);
      if (l == 0) backend->DenseMlp({l}, 0);
    }
    backend->Route({1}, 0);
    ASSERT_TRUE(backend->Routed({1}, 0).ok());
    const auto begin = std::chrono::steady_clock::now();
    backend.reset();  // no answer has come
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  }
}

// A GPU need not notice: behind the cache lies other memory of the same process.
TEST(EmulatedBackend, AKernelsFaultIsNamedAndStays) {
  const SmallModel model(OddGpuShape(), 600);
  const auto backend = Loaded(model, {.timeout = milliseconds(5000)});
  OneRow row;
  row.page = kDriverPages + 3;  // there is no such page
  absl::Status status = backend->BeginStep(row.batch());
  if (status.ok()) status = backend->Routed({1}, 0).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("latent_write"));
  OneRow sound;
  EXPECT_FALSE(backend->BeginStep(sound.batch()).ok()) << "a device that faulted is not trusted";
}

TEST(GpuBackend, RefusesWhatItCannotServe) {
  const DenseBackendOptions options = {.kv_pages = 4};
  const auto message = [&](const ModelShape& shape, const DenseBackendOptions& some) {
    const absl::Status status = CreateEmulatedBackend(shape, some, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message(OddShape(), options), HasSubstr("dense_intermediate is 170"));
  ModelShape wide = OddGpuShape();
  wide.v_dim = 256;
  EXPECT_THAT(message(wide, options), HasSubstr("v_dim is 256"));
  EXPECT_THAT(message(OddGpuShape(), {.dtype = DenseDType::kInt8, .kv_pages = 4}),
              HasSubstr("held in bf16"));
  const auto too_much = CreateEmulatedBackend(OddGpuShape(), {.kv_pages = int64_t{1} << 40}, {});
  EXPECT_EQ(too_much.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_much.status().message()), HasSubstr("latent cache of layer 0"));
}

// Bytes of experts, one shard each.
class SomeExperts {
 public:
  explicit SomeExperts(const ModelShape& shape)
      : layout_(shape.hidden, shape.expert_intermediate, 1), memory_(shape.experts) {
    for (size_t e = 0; e < memory_.size(); ++e) {
      memory_[e].resize(layout_.expert_bytes());
      for (size_t i = 0; i < memory_[e].size(); ++i)
        memory_[e][i] = static_cast<std::byte>(i * 7 + e * 31);
    }
  }
  ExpertShards Shards(int32_t expert) const { return {memory_[expert]}; }
  const std::vector<std::byte>& bytes(int32_t expert) const { return memory_[expert]; }

 private:
  ShardedLayout layout_;
  std::vector<std::vector<std::byte>> memory_;
};

std::vector<FinishedReplacement> AwaitReplacement(ExpertDevice& device) {
  for (int i = 0; i < 60000; ++i) {
    auto finished = device.FinishReplaces();
    if (!finished.empty()) return finished;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return {};
}

TEST(GpuBackend, AnExpertIsReplacedOnceItsCopyIsComplete) {
  const ModelShape shape = OddGpuShape();
  const SomeExperts experts(shape);
  const auto backend = Create(shape, {.hot_experts = 2, .spare_experts = 1});
  ExpertDevice& device = *backend->expert_device();
  EXPECT_EQ(device.hot_capacity(), 2);
  EXPECT_EQ(device.spare_places(), 1);
  const LayerId layer{1};
  for (const int32_t e : {0, 1}) ASSERT_TRUE(device.MakeHot(layer, {e}, experts.Shards(e)).ok());
  EXPECT_EQ(device.MakeHot(layer, {2}, experts.Shards(2)).code(),
            absl::StatusCode::kResourceExhausted)
      << "the spare place is not one for hot experts";

  std::vector<std::byte> back(experts.bytes(0).size());
  const HotReplacement first = {layer, {0}, {3}};
  ASSERT_TRUE(device.BeginReplace(first, experts.Shards(3), {back}).ok());
  EXPECT_EQ(device.BeginReplace({layer, {1}, {2}}, experts.Shards(2), {}).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(device.IsHot(layer, {0})) << "nothing changes before FinishReplaces()";
  const auto finished = AwaitReplacement(device);
  ASSERT_EQ(finished.size(), 1);
  EXPECT_EQ(finished[0].what, first);
  EXPECT_EQ(finished[0].status, absl::OkStatus());
  EXPECT_GT(finished[0].seconds, 0);
  EXPECT_FALSE(device.IsHot(layer, {0}));
  EXPECT_TRUE(device.IsHot(layer, {3}));
  EXPECT_EQ(back, experts.bytes(0));
  std::vector<std::byte> read(experts.bytes(3).size());
  ASSERT_TRUE(device.ReadHot(layer, {3}, {read}).ok());
  EXPECT_EQ(read, experts.bytes(3));
  ASSERT_TRUE(device.ReadHot(layer, {1}, {read}).ok());
  EXPECT_EQ(read, experts.bytes(1)) << "the others stay where they are";

  // The old one's place is the spare one now. What changed under way is not undone.
  EXPECT_EQ(device.BeginReplace({layer, {0}, {2}}, experts.Shards(2), {}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(device.BeginReplace({layer, {1}, {3}}, experts.Shards(3), {}).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(device.BeginReplace({layer, {3}, {2}}, experts.Shards(2), {}).ok());
  const ExpertId out{3};
  ASSERT_TRUE(device.MakeHot(layer, {0}, experts.Shards(0), &out).ok());
  const auto late = AwaitReplacement(device);
  ASSERT_EQ(late.size(), 1);
  EXPECT_EQ(late[0].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(device.IsHot(layer, {0}));
  EXPECT_FALSE(device.IsHot(layer, {2}));
  EXPECT_TRUE(device.BeginReplace({layer, {0}, {2}}, experts.Shards(2), {}).ok());
}  // the last one still under way

}  // namespace
}  // namespace tandem
