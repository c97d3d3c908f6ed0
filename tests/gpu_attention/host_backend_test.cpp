#include "tests/gpu_attention/kernels_under_test.h"
#include "tests/gpu_attention/small_model.h"

namespace tandem {
namespace {

struct NamedShape {
  const char* name;
  ModelShape shape;
};
const NamedShape kShapes[] = {{"odd", OddShape()}, {"one head", OneHeadShape()}};

// Here and there an F32 rounding tips a cached latent to the other BF16 neighbour, 2^-8 away.
constexpr double kBound = 2.5e-3;

TEST(HostBackend, AgreesWithADoubleComputation) {
  WorkerTeam team({.workers = 2});
  for (const auto& [name, shape] : kShapes) {
    const SmallModel model(shape, 100);
    const auto sequences = ThreeSequences(shape);
    for (const DenseKernels* kernels : AllDenseKernels(true)) {
      Driver driver(model, {.max_tokens = 130, .kernel = kernels->name}, team, sequences);
      RunMixed(driver);
      for (int i = 0; i < 3; ++i) {
        EXPECT_LT(WorstDifference(driver.logits(i), ReferenceLogits(model, sequences[i])), kBound)
            << name << ", " << kernels->name << ", sequence " << i;
      }
    }
  }
}

TEST(HostBackend, TheInnerNormsHaveTheirOwnEps) {
  WorkerTeam team({.workers = 1});
  const SmallModel model(OneHeadShape(), 100);
  ModelShape same = model.shape;
  same.mla_norm_eps = 0;
  const SmallModel other(same, 100);
  const auto ids = RandomIds(same, 20, 1);
  Driver a(model, {}, team, {ids}), b(other, {}, team, {ids});
  a.RunAlone(0, 20);
  b.RunAlone(0, 20);
  EXPECT_GT(WorstDifference(a.logits(0), b.logits(0)), 4 * kBound);
  EXPECT_LT(WorstDifference(b.logits(0), ReferenceLogits(other, ids)), kBound);
}

TEST(HostBackend, ATokensBitsDependOnNothingButItsSequence) {
  for (const auto& [name, shape] : kShapes) {
    const SmallModel model(shape, 200);
    const auto sequences = ThreeSequences(shape);
    for (DenseDType dtype : {DenseDType::kBf16, DenseDType::kInt8}) {
      WorkerTeam one({.workers = 1});
      Driver alone(model, {.dtype = dtype, .max_tokens = 140}, one, sequences);
      alone.RunAlone(0, 1);
      alone.RunAlone(1, 131);
      alone.RunAlone(2, 7);
      for (int workers : {1, 2, 3}) {
        WorkerTeam team({.workers = workers});
        Driver mixed(model, {.dtype = dtype, .max_tokens = 130}, team, sequences);
        RunMixed(mixed);
        for (int i = 0; i < 3; ++i)
          EXPECT_EQ(mixed.logits(i), alone.logits(i))
              << name << ", " << workers << " workers, sequence " << i;
      }
    }
  }
}

TEST(HostBackend, Int8StaysCloseAndIsNotBf16) {
  WorkerTeam team({.workers = 2});
  for (const auto& [name, shape] : kShapes) {
    const SmallModel model(shape, 300);
    const auto sequences = ThreeSequences(shape);
    Driver driver(model, {.dtype = DenseDType::kInt8, .max_tokens = 130}, team, sequences);
    RunMixed(driver);
    for (int i = 0; i < 3; ++i) {
      const double worst = WorstDifference(driver.logits(i), ReferenceLogits(model, sequences[i]));
      EXPECT_LT(worst, 0.05) << name;
      EXPECT_GT(worst, 1e-4) << name;
    }
    EXPECT_LT(driver.backend().weight_bytes(),
              Driver(model, {}, team, sequences).backend().weight_bytes());
  }
}

TEST(HostBackend, ACopiedPageServesAFork) {
  WorkerTeam team({.workers = 2});
  const SmallModel model(OddShape(), 400);
  auto ids = RandomIds(model.shape, 90, 1);
  auto fork = ids;
  fork[80] = (fork[80] + 1) % model.shape.vocab;
  Driver driver(model, {}, team, {ids, fork});
  driver.RunAlone(0, 80);
  // The fork borrows the full page and owns a copy of the partial one.
  driver.backend().CopyPage(driver.pages(0)[1], 40);
  Driver whole(model, {}, team, {fork});
  whole.RunAlone(0, 90);

  const SequenceSlice slice = {0, 10, 80, {}};
  const std::vector<int32_t> pages = {driver.pages(0)[0], 40};
  SequenceSlice forked = slice;
  forked.pages = pages;
  DenseBackend& backend = driver.backend();
  RunStep(model.shape, backend, {std::span(fork).subspan(80), {&forked, 1}});
  const int32_t last[] = {9};
  const View<const float, 2> logits = *backend.Logits(last);
  EXPECT_EQ(std::vector<float>(logits.row(0), logits.row(0) + model.shape.vocab),
            whole.logits(0)[89]);
}

TEST(HostBackend, RefusesWhatItCannotServe) {
  WorkerTeam team({.workers = 1});
  ModelShape odd_latent = OddShape();
  odd_latent.kv_lora_rank = 40;
  EXPECT_EQ(CreateHostBackend(odd_latent, {}, team).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateHostBackend(OddShape(), {.kernel = "sse9"}, team).status().code(),
            absl::StatusCode::kInvalidArgument);

  const SmallModel model(OddShape(), 1);
  auto backend = *CreateHostBackend(model.shape, {}, team);
  LayerWeights broken = model.layers[1];
  broken.attention.o_proj = broken.attention.o_proj.Slice(0, 5);
  const absl::Status status = backend->LoadLayer({1}, broken);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "layer 1: o_proj: expected [96, 60], got [5, 60]");
}

}  // namespace
}  // namespace tandem
