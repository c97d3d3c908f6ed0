#include "cpu_experts/experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/memory.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

constexpr uint64_t kSeed = 77;
using testing::HasSubstr;

ExpertsShape ShapeOf(const MoeCaseShape& s) {
  ExpertsShape shape;
  shape.hidden = s.hidden;
  shape.intermediate = s.intermediate;
  shape.top_k = s.top_k;
  shape.experts = {0, s.experts, s.experts};  // a dense layer, then two of experts
  return shape;
}

TEST(CpuExperts, LoadsFromManyThreadsAndComputesEveryLayer) {
  const MoeCaseShape s = {"api", 11, 96, 64, 9, 4, Routing::kSomeSkipped};
  const MoeCase first(s, kSeed), second(s, kSeed + 1);
  WorkerTeam team({.workers = 2});
  CpuExpertsOptions options;
  options.activations = ExpertActivations::kInt8x2;
  options.max_tokens = s.tokens;
  auto experts = CpuExperts::Create(ShapeOf(s), options, team);
  ASSERT_TRUE(experts.ok()) << experts.status();
  EXPECT_EQ((*experts)->weight_bytes(), 2 * s.experts * (*experts)->expert_bytes());

  std::vector<std::thread> loaders;
  for (int part = 0; part < 3; ++part) {
    loaders.emplace_back([&, part] {
      for (int e = part; e < s.experts; e += 3) {
        EXPECT_EQ((*experts)->LoadExpert({1}, {e}, first.expert(e)), absl::OkStatus());
        EXPECT_EQ((*experts)->LoadExpert({2}, {e}, second.expert(e)), absl::OkStatus());
      }
    });
  }
  for (std::thread& loader : loaders) loader.join();

  std::vector<float> y(s.tokens * s.hidden);
  for (int layer : {1, 2, 1}) {
    const MoeCase& c = layer == 1 ? first : second;
    (*experts)->Forward({layer}, c.routed(), {y.data(), {s.tokens, s.hidden}});
    EXPECT_EQ(Compare(Reference(c, ExpertActivations::kInt8x2), y), "") << "layer " << layer;
  }
}

// What a GPU does that takes an expert over: copies its shards, lets it leave RAM, brings it back.
TEST(CpuExperts, AnExpertLeavesAndComesBack) {
  const MoeCaseShape s = {"leaves", 5, 96, 64, 3, 2};
  const MoeCase c(s, kSeed);
  WorkerTeam team({.workers = 1});
  auto experts = CpuExperts::Create(ShapeOf(s), {.max_tokens = s.tokens}, team);
  ASSERT_TRUE(experts.ok()) << experts.status();
  for (int e = 0; e < s.experts; ++e)
    ASSERT_EQ((*experts)->LoadExpert({1}, {e}, c.expert(e)), absl::OkStatus());
  std::vector<float> before(s.tokens * s.hidden), after(s.tokens * s.hidden);
  (*experts)->Forward({1}, c.routed(), {before.data(), {s.tokens, s.hidden}});

  const ExpertShards shards = (*experts)->Shards({1}, {1});
  ASSERT_EQ(std::ssize(shards), (*experts)->n_shards());
  std::vector<std::vector<std::byte>> kept;
  for (const auto& shard : shards) kept.emplace_back(shard.begin(), shard.end());
  (*experts)->Release({1}, {1});
  EXPECT_FALSE((*experts)->IsLoaded({1}, {1}));
  EXPECT_TRUE((*experts)->IsLoaded({1}, {0}));
  for (size_t i = 0; i < kept.size(); ++i) {
    const std::span<std::byte> memory = (*experts)->ShardMemory({1}, {1}, static_cast<int>(i));
    EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0}; }))
        << "the memory was given back";
    std::ranges::copy(kept[i], memory.begin());
  }
  (*experts)->SetLoaded({1}, {1});
  (*experts)->Forward({1}, c.routed(), {after.data(), {s.tokens, s.hidden}});
  EXPECT_EQ(before, after);

  int64_t bytes = 0;
  for (const auto& memory : (*experts)->Memory({1})) bytes += std::ssize(memory);
  EXPECT_GE(bytes, s.experts * (*experts)->expert_bytes());
}

TEST(CpuExperts, SaysWhatIsWrong) {
  const MoeCaseShape s = {"errors", 1, 64, 32, 2, 1};
  const MoeCase c(s, kSeed);
  WorkerTeam team({.workers = 1});
  auto create = [&](auto change) {
    ExpertsShape shape = ShapeOf(s);
    CpuExpertsOptions options;
    change(shape, options);
    return CpuExperts::Create(shape, options, team).status();
  };
  const absl::Status odd = create([](auto& shape, auto&) { shape.hidden = 40; });
  EXPECT_EQ(odd.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(odd.message(), HasSubstr("40"));
  const absl::Status kernel = create([](auto&, auto& options) { options.kernel = "sse9"; });
  EXPECT_EQ(kernel.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(kernel.message(), HasSubstr("sse9"));
  const absl::Status huge = create([](auto& shape, auto&) {
    shape.hidden = shape.intermediate = 1 << 15;
    shape.experts = {1 << 20};
  });
  EXPECT_EQ(huge.code(), absl::StatusCode::kResourceExhausted);

  auto experts = CpuExperts::Create(ShapeOf(s), {}, team);
  ASSERT_TRUE(experts.ok());
  EXPECT_EQ((*experts)->LoadExpert({0}, {0}, c.expert(0)).code(),
            absl::StatusCode::kInvalidArgument);  // a dense layer
  ExpertWeights swapped = c.expert(0);
  std::swap(swapped.up, swapped.down);
  const absl::Status shape = (*experts)->LoadExpert({1}, {0}, swapped);
  EXPECT_EQ(shape.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(shape.message(), HasSubstr("up"));
}

TEST(CpuExperts, ForwardAllocatesNothing) {
  const MoeCaseShape s = {"allocation", 40, 64, 64, 6, 3};
  const MoeCase c(s, kSeed);
  WorkerTeam team({.workers = 2});
  auto experts = CpuExperts::Create(ShapeOf(s), {}, team);
  ASSERT_TRUE(experts.ok());
  for (int e = 0; e < s.experts; ++e)
    ASSERT_TRUE((*experts)->LoadExpert({1}, {e}, c.expert(e)).ok());
  std::vector<float> y(s.tokens * s.hidden);
  const View<float, 2> out(y.data(), {s.tokens, s.hidden});
  (*experts)->Forward({1}, c.routed(), out);
  const int64_t before = ReadResidentMemory().now_bytes;
  for (int i = 0; i < 200; ++i) (*experts)->Forward({1}, c.routed(), out);
  EXPECT_LE(ReadResidentMemory().now_bytes, before + (1 << 20));
}

}  // namespace
}  // namespace tandem::test
