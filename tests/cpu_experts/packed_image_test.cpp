#include "cpu_experts/packed_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "cpu_experts/experts.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

const MoeCaseShape kShape = {"packed", 5, 96, 160, 4, 2};
constexpr Hash128 kSource = {0x1234, 0x5678};

// A layer file and the layer that is in it.
class PackedImageTest : public ::testing::Test {
 protected:
  PackedImageTest() : moe_(kShape, 17) {
    std::string pattern = (std::filesystem::temp_directory_path() / "tandem_XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    path_ = dir_ + "/experts-layer-00000.tandem";
    Build(1);
  }
  ~PackedImageTest() override { std::filesystem::remove_all(dir_); }

  void Build(int shards) {
    info_ = {0, kShape.experts, kShape.hidden, kShape.intermediate, shards, kSource};
    const ShardedLayout layout = info_.layout();
    std::vector<Hash128> sums;
    Bytes data(info_.experts * layout.expert_bytes());
    for (int e = 0; e < info_.experts; ++e) {
      std::byte* at = data.data() + e * layout.expert_bytes();
      PackShards(layout, moe_.expert(e), reinterpret_cast<uint8_t*>(at));
      for (int s = 0; s < shards; ++s)
        sums.push_back(HashOf({at + layout.offset(s), size_t(layout.block_bytes(s))}));
    }
    file_ = EncodePackedHeader(info_, sums);
    header_bytes_ = file_.size();
    file_.insert(file_.end(), data.begin(), data.end());
    Write(file_);
  }
  void Write(std::span<const std::byte> bytes) const {
    std::ofstream out(path_, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    ASSERT_TRUE(out.flush().good());
  }
  // Replaces bytes in place; a new file for each of thousands of cases would take long.
  void Poke(size_t at, std::span<const std::byte> bytes) const {
    std::fstream out(path_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(at);
    out.write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    ASSERT_TRUE(out.flush().good());
  }
  absl::StatusOr<std::shared_ptr<const PackedLayer>> Open() const {
    return PackedLayer::Open(path_, info_);
  }
  std::shared_ptr<const PackedLayer> MustOpen() const {
    auto layer = Open();
    EXPECT_TRUE(layer.ok()) << layer.status();
    return *layer;
  }
  void ExpectRefused(const PackedLayerInfo& expected, absl::StatusCode code,
                     const std::string& what) const {
    const auto layer = PackedLayer::Open(path_, expected);
    ASSERT_FALSE(layer.ok());
    EXPECT_EQ(layer.status().code(), code) << layer.status();
    EXPECT_THAT(std::string(layer.status().message()), HasSubstr(what));
    EXPECT_THAT(std::string(layer.status().message()), HasSubstr(path_));
  }

  MoeCase moe_;
  std::string dir_, path_;
  PackedLayerInfo info_;
  Bytes file_;
  size_t header_bytes_ = 0;
};

TEST_F(PackedImageTest, ReadsWhatWasWritten) {
  for (int shards : {1, 2, 3, 5}) {
    Build(shards);
    const auto layer = MustOpen();
    EXPECT_EQ(layer->info(), info_);
    EXPECT_EQ(layer->offset({0}) % 4096, 0);
    for (int e = 0; e < info_.experts; ++e) {
      EXPECT_EQ(layer->Verify({e}), absl::OkStatus());
      Bytes packed(info_.layout().expert_bytes());
      PackShards(info_.layout(), moe_.expert(e), reinterpret_cast<uint8_t*>(packed.data()));
      EXPECT_TRUE(std::ranges::equal(packed, layer->expert({e})));
    }
  }
}

TEST_F(PackedImageTest, RefusesWhatIsNotExpected) {
  PackedLayerInfo other = info_;
  other.source.low ^= 1;
  ExpectRefused(other, absl::StatusCode::kFailedPrecondition, "another checkpoint");
  other = info_;
  other.layer = 7;
  ExpectRefused(other, absl::StatusCode::kFailedPrecondition, "expected layer 7");
  other = info_;
  other.hidden = 128;
  ExpectRefused(other, absl::StatusCode::kFailedPrecondition, "hidden 128");
  other = info_;
  other.shards = 2;
  ExpectRefused(other, absl::StatusCode::kFailedPrecondition, "expected 2 shards, found 1");
  other.shards = 0;
  EXPECT_TRUE(PackedLayer::Open(path_, other).ok());
  const uint32_t versions[] = {0, 2, 0xffffffff};
  for (const uint32_t version : versions) {
    Poke(8, std::as_bytes(std::span(&version, 1)));
    ExpectRefused(info_, absl::StatusCode::kUnimplemented, "version 1");
  }
  Write(
      std::as_bytes(std::span("a picture of a cat, and more than sixty-four bytes of it, I say")));
  ExpectRefused(info_, absl::StatusCode::kInvalidArgument, "does not begin with TANDEMEX");
  std::filesystem::remove(path_);
  EXPECT_TRUE(absl::IsNotFound(Open().status())) << Open().status();
}

TEST_F(PackedImageTest, RefusesEveryTruncation) {
  std::mt19937_64 random(5);
  std::vector<size_t> lengths = {0,
                                 1,
                                 7,
                                 8,
                                 63,
                                 64,
                                 65,
                                 header_bytes_ - 1,
                                 header_bytes_,
                                 header_bytes_ + 1,
                                 file_.size() - 4096,
                                 file_.size() - 1};
  for (int i = 0; i < 300; ++i) lengths.push_back(random() % file_.size());
  std::sort(lengths.rbegin(), lengths.rend());
  for (size_t length : lengths) {
    std::filesystem::resize_file(path_, length);
    const auto layer = Open();
    ASSERT_FALSE(layer.ok()) << length << " of " << file_.size();
    EXPECT_TRUE(absl::IsDataLoss(layer.status())) << length << ": " << layer.status();
  }
  Bytes longer = file_;
  longer.resize(file_.size() + 1);
  Write(longer);
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("wrong size"));
}

TEST_F(PackedImageTest, EveryFlippedBitOfTheHeaderIsSeen) {
  std::mt19937_64 random(6);
  for (size_t at = 0; at < header_bytes_; ++at) {
    const std::byte flipped = file_[at] ^ static_cast<std::byte>(1 << random() % 8);
    Poke(at, {&flipped, 1});
    ASSERT_FALSE(Open().ok()) << "byte " << at;
    Poke(at, {&file_[at], 1});
  }
  EXPECT_TRUE(Open().ok());
}

TEST_F(PackedImageTest, EveryFlippedBitOfTheDataIsSeen) {
  Build(2);
  const auto layer = MustOpen();
  std::mt19937_64 random(7);
  for (int i = 0; i < 500; ++i) {
    const size_t at = header_bytes_ + random() % (file_.size() - header_bytes_);
    const std::byte flipped = file_[at] ^ static_cast<std::byte>(1 << random() % 8);
    Poke(at, {&flipped, 1});
    const auto hit = static_cast<int32_t>((at - header_bytes_) / layer->layout().expert_bytes());
    for (int32_t e = 0; e < info_.experts; ++e) {
      const absl::Status status = layer->Verify({e});
      ASSERT_EQ(status.ok(), e != hit) << "byte " << at;
      if (e != hit) continue;
      EXPECT_TRUE(absl::IsDataLoss(status));
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("expert " + std::to_string(e) + " of layer 0"));
    }
    Poke(at, {&file_[at], 1});
  }
}

// Headers with a right seal and any content: only the true one is taken.
TEST_F(PackedImageTest, SealedNonsenseIsRefused) {
  std::mt19937_64 random(8);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes header(file_.begin(), file_.begin() + header_bytes_);
    for (int changes = 1 + random() % 3; changes > 0; --changes) {
      const size_t at = 8 + random() % 7 * 4;  // version to shards
      const int32_t small = static_cast<int32_t>(random() % 5) - 1;
      const auto any = static_cast<int32_t>(random());
      std::memcpy(header.data() + at, random() % 2 ? &small : &any, 4);
    }
    if (random() % 4 == 0) {
      const uint64_t size = random() >> random() % 64;
      std::memcpy(header.data() + 56, &size, 8);
    }
    const bool same = std::equal(header.begin(), header.end() - 8, file_.begin());
    const uint64_t seal = XXH3_64bits(header.data(), header.size() - 8);
    std::memcpy(header.data() + header.size() - 8, &seal, 8);
    Poke(0, header);
    ASSERT_EQ(Open().ok(), same) << "seed 8, case " << i;
    refused += !same;
  }
  EXPECT_GT(refused, 10000);
}

std::unique_ptr<CpuExperts> MakeExperts(WorkerTeam& team, bool reserve) {
  CpuExpertsOptions options;
  options.max_tokens = kShape.tokens;
  options.reserve = reserve;
  auto experts = CpuExperts::Create(
      {kShape.hidden, kShape.intermediate, kShape.top_k, {kShape.experts}}, options, team);
  EXPECT_TRUE(experts.ok()) << experts.status();
  return *std::move(experts);
}

std::vector<float> Forward(CpuExperts& experts, const MoeCase& c) {
  std::vector<float> y(c.shape.tokens * c.shape.hidden, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(experts.EnsureVerified({0}, c.routed().expert_ids), absl::OkStatus());
  experts.Forward({0}, c.routed(), {y.data(), {c.shape.tokens, c.shape.hidden}});
  return y;
}

TEST_F(PackedImageTest, MappedCopiedAndPackedComputeTheSame) {
  WorkerTeam team({.workers = 2, .pin = false});
  const auto packed = MakeExperts(team, true);
  for (int e = 0; e < kShape.experts; ++e)
    ASSERT_EQ(packed->LoadExpert({0}, {e}, moe_.expert(e)), absl::OkStatus());
  const std::vector<float> expected = Forward(*packed, moe_);
  for (bool verified : {false, true}) {
    const auto mapped = MakeExperts(team, false);
    ASSERT_EQ(mapped->MapLayer(MustOpen(), verified), absl::OkStatus());
    EXPECT_EQ(Forward(*mapped, moe_), expected);
  }
  for (int shards : {1, 2, 3, 5}) {
    Build(shards);
    const auto copied = MakeExperts(team, true);
    const auto layer = MustOpen();
    for (int e = 0; e < kShape.experts; ++e)
      ASSERT_EQ(copied->LoadPackedExpert(*layer, {e}, layer->expert({e})), absl::OkStatus());
    EXPECT_EQ(Forward(*copied, moe_), expected) << shards << " shards";
  }
  Build(2);
  EXPECT_FALSE(MakeExperts(team, false)->MapLayer(MustOpen(), true).ok()) << "another cut";
}

TEST_F(PackedImageTest, ADamagedExpertIsNeverUsed) {
  WorkerTeam team({.workers = 2, .pin = false});
  const auto mapped = MakeExperts(team, false);
  const auto layer = MustOpen();
  const size_t at = layer->offset({2}) + 1000;
  const std::byte flipped = file_[at] ^ std::byte{4};
  Poke(at, {&flipped, 1});
  ASSERT_EQ(mapped->MapLayer(layer, /*verified=*/false), absl::OkStatus());
  const int32_t sound[] = {0, 1, -1, 3}, damaged[] = {3, 2};
  EXPECT_EQ(mapped->EnsureVerified({0}, {sound, {2, 2}}), absl::OkStatus());
  for (int again = 0; again < 2; ++again) {
    const absl::Status status = mapped->EnsureVerified({0}, {damaged, {1, 2}});
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expert 2 of layer 0"));
  }
  float y[96];
  const bf16 x[96] = {};
  const float weights[] = {1, 1};
  const RoutedTokens routed = {{x, {1, 96}}, {damaged, {1, 2}}, {weights, {1, 2}}};
  EXPECT_DEATH(mapped->Forward({0}, routed, {y, {1, 96}}), "verified");
}

}  // namespace
}  // namespace tandem::test
