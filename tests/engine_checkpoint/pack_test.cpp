#include "engine/checkpoint/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "core/log.h"
#include "engine/checkpoint/identify_model.h"
#include "engine/checkpoint/weight_reader.h"
#include "engine/engine.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PackTest : public testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
  void TearDown() override { spdlog::set_level(spdlog::level::info); }

  absl::StatusOr<PackReport> Pack(int32_t shards = 1) {
    return PackModel({model(), out(), shards}, team_);
  }
  void MustPack(int32_t shards = 1) {
    const auto report = Pack(shards);
    ASSERT_TRUE(report.ok()) << report.status();
  }
  void ExpectError(const absl::Status& status, absl::StatusCode code, const std::string& what) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
  std::string model() const { return dir_.File("model"); }
  std::string out() const { return dir_.File("out"); }
  std::string LayerFile(int32_t layer) const { return out() + "/" + PackedLayerName(layer); }

  TempDir dir_;
  WorkerTeam team_{{.workers = 2, .pin = false}};
};

// Every file of a folder, by name.
std::map<std::string, std::string> Contents(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir))
    files[entry.path().filename().string()] = ReadFile(entry.path().string());
  return files;
}

void FlipBit(const std::string& path, size_t at) {
  std::string bytes = ReadFile(path);
  bytes[at] = static_cast<char>(bytes[at] ^ 16);
  WriteFile(path, bytes);
}

// The dense side computes latents in units of 16.
SynthModel Runnable(SynthModel model) {
  model.shape.kv_lora_rank = 32;
  model.shape.expert_intermediate = 96;
  return model;
}

// What a model answers, to the last bit.
std::vector<float> Logprobs(const std::string& dir, ExpertLoadOptions load, absl::Status* error) {
  EngineOptions options;
  options.model_dir = dir;
  options.expert_load = load;
  options.threads = 2;
  options.kv_tokens = 256;
  options.max_step_tokens = 32;
  options.max_sequences = 4;
  auto engine = Engine::Create(options);
  *error = engine.status();
  if (!engine.ok()) return {};
  std::vector<int32_t> ids;
  for (int i = 0; i < 70; ++i) ids.push_back((i * 37 + 5) % 300);
  const auto scores = (*engine)->Score(ids);
  *error = scores.status();
  std::vector<float> values;
  for (size_t i = 0; scores.ok() && i < scores->size(); ++i) {
    values.push_back((*scores)[i].logprob);
    for (const TopLogprob& top : (*scores)[i].top) values.push_back(top.logprob);
  }
  return values;
}

std::vector<float> MustScore(const std::string& dir, ExpertLoadOptions load = {}) {
  absl::Status error;
  std::vector<float> values = Logprobs(dir, load, &error);
  EXPECT_TRUE(error.ok()) << error;
  EXPECT_GT(values.size(), 300u);
  return values;
}

TEST_F(PackTest, AnswersAreTheSameToTheLastBit) {
  for (SynthModel source : {SmallModel(), MoonlightLike(), DeepSeekLike(), TiedModel()}) {
    source = Runnable(source);
    fs::remove_all(out());
    WriteCheckpoint(model(), source);
    const std::vector<float> expected = MustScore(model());
    MustPack();
    fs::rename(model(), dir_.File("gone"));  // the image is a whole model
    for (ExpertsMemory memory : {ExpertsMemory::kAuto, ExpertsMemory::kMap, ExpertsMemory::kCopy})
      for (VerifyExperts verify : {VerifyExperts::kOff, VerifyExperts::kLazy, VerifyExperts::kFull})
        EXPECT_EQ(MustScore(out(), {memory, verify}), expected) << source.name;
    EXPECT_EQ(VerifyImage(out(), team_), absl::OkStatus());
    fs::rename(dir_.File("gone"), model());

    fs::remove_all(out());
    MustPack(3);
    EXPECT_EQ(MustScore(out()), expected) << "three shards";
    absl::Status error;
    Logprobs(out(), {ExpertsMemory::kMap, VerifyExperts::kLazy}, &error);
    ExpectError(error, absl::StatusCode::kInvalidArgument, "has 3 shards per expert");
  }
}

absl::StatusOr<ModelIdentity> Fingerprint(const std::string& dir) {
  TANDEM_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir));
  return IdentifyModel(*checkpoint);
}

TEST_F(PackTest, FingerprintIsTheModelsNotTheFiles) {
  const SynthModel source = Runnable(SmallModel());
  WriteCheckpoint(model(), source);
  MustPack();
  const auto original = Fingerprint(model()), packed = Fingerprint(out());
  ASSERT_TRUE(original.ok()) << original.status();
  ASSERT_TRUE(packed.ok()) << packed.status();
  EXPECT_NE(original->router_hash, 0u);
  EXPECT_EQ(*original, *packed);
  fs::remove_all(model());
  WriteCheckpoint(model(), source, /*seed=*/2);
  EXPECT_NE(Fingerprint(model())->router_hash, original->router_hash);
}

TEST_F(PackTest, AnImageCanBeCutAnew) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  const std::string two = dir_.File("two"), one = dir_.File("one");
  ASSERT_TRUE(PackModel({out(), two, 2}, team_).ok());
  ASSERT_TRUE(PackModel({two, one, 1}, team_).ok());
  EXPECT_EQ(Contents(one), Contents(out()));
  EXPECT_NE(Contents(two), Contents(out()));
}

TEST_F(PackTest, SecondRunDoesNothing) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  const auto before = Contents(out());
  const auto report = Pack();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->was_complete);
  EXPECT_EQ(Contents(out()), before);
}

TEST_F(PackTest, RefusesFoldersThatItMustNotTouch) {
  WriteCheckpoint(model(), SmallModel());
  ExpectError(PackModel({model(), model(), 1}, team_).status(),
              absl::StatusCode::kFailedPrecondition, "is the checkpoint itself");
  fs::create_directory_symlink(model(), dir_.File("link"));
  ExpectError(PackModel({model(), dir_.File("link"), 1}, team_).status(),
              absl::StatusCode::kFailedPrecondition, "is the checkpoint itself");
  fs::create_directory(out());
  WriteFile(out() + "/letter.txt", "dear");
  ExpectError(Pack().status(), absl::StatusCode::kAlreadyExists, "is not empty");
  WriteFile(dir_.File("file"), "");
  ExpectError(PackModel({model(), dir_.File("file/out"), 1}, team_).status(),
              absl::StatusCode::kNotFound, "cannot make the folder");
  ExpectError(PackModel({model(), "/proc/none/out", 1}, team_).status(),
              absl::StatusCode::kNotFound, "cannot make the folder");
  ExpectError(PackModel({dir_.File("none"), out(), 1}, team_).status(), absl::StatusCode::kNotFound,
              "there is no folder");
  fs::remove_all(out());
  ExpectError(Pack(3).status(), absl::StatusCode::kInvalidArgument, "one shard per 32 columns");
  EXPECT_FALSE(fs::exists(out()));
}

TEST_F(PackTest, UnwritableFolder) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  WriteCheckpoint(model(), SmallModel());
  fs::create_directory(out());
  chmod(out().c_str(), 0555);
  ExpectError(Pack().status(), absl::StatusCode::kPermissionDenied, "cannot write into");
}

TEST_F(PackTest, AChangedSourceIsRefused) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  WriteCheckpoint(model(), SmallModel(), /*seed=*/2);
  ExpectError(Pack().status(), absl::StatusCode::kFailedPrecondition, "another checkpoint");
  // The same when the first run did not come to its end.
  fs::remove_all(out());
  fs::create_directory(out());
  PackedManifest unfinished;
  unfinished.source = {1, 2};
  WriteFile(out() + "/" + kManifestName, unfinished.ToJson());
  ExpectError(Pack().status(), absl::StatusCode::kFailedPrecondition, "another checkpoint");
  ExpectError(Checkpoint::Open(out()).status(), absl::StatusCode::kFailedPrecondition,
              "not finished");
}

// A limit on the size of files stands for a full disk: writing fails in the middle.
TEST_F(PackTest, FailedWritesLeaveSomethingToGoOnFrom) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  const auto expected = Contents(out());
  signal(SIGXFSZ, SIG_IGN);
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  for (const rlim_t bytes : {rlim_t{100}, rlim_t{5000}, rlim_t{60'000}, rlim_t{100'000}}) {
    fs::remove_all(out());
    const rlimit small = {bytes, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    const absl::Status status = Pack().status();
    setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_FALSE(status.ok()) << bytes;
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write " + out()));
    EXPECT_FALSE(Checkpoint::Open(out()).ok());
    MustPack();
    EXPECT_EQ(Contents(out()), expected);
  }
}

TEST_F(PackTest, ResumesFromAnyLeftover) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  const auto expected = Contents(out());
  const auto unfinish = [&] {
    PackedManifest manifest = **ReadManifest(out());
    manifest.complete = false;
    WriteFile(out() + "/" + kManifestName, manifest.ToJson());
  };
  const auto finish = [&](int64_t least_kept) {
    const auto report = Pack();
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GE(report->kept_bytes, least_kept);
    EXPECT_LT(report->kept_bytes, report->expert_bytes + (least_kept == report->expert_bytes));
    EXPECT_EQ(Contents(out()), expected);
  };
  const int64_t layer_bytes = fs::file_size(LayerFile(1)) - 4096, expert_bytes = layer_bytes / 5;
  unfinish();  // killed before the last step
  finish(2 * layer_bytes);
  unfinish();
  fs::remove(LayerFile(2));
  finish(layer_bytes);
  // Half a layer: experts 0 and 3 are there, 1 is torn, of 2 and 4 nothing is known.
  unfinish();
  std::string part = ReadFile(LayerFile(2));
  part[4096 + expert_bytes + 77] ^= 1;
  for (int e : {2, 4}) std::fill_n(part.begin() + 64 + 16 * e, 16, '\0');
  std::fill_n(part.begin() + 4088, 8, '\0');
  fs::remove(LayerFile(2));
  WriteFile(LayerFile(2) + ".part", part);
  finish(layer_bytes + 2 * expert_bytes);
  // A .part of something else, and one of another length.
  for (const std::string& junk : {std::string(part.size(), 'x'), std::string("short")}) {
    unfinish();
    fs::remove(LayerFile(1));
    WriteFile(LayerFile(1) + ".part", junk);
    finish(layer_bytes);
  }
  // A finished layer that was damaged since.
  unfinish();
  FlipBit(LayerFile(1), 4096 + 10);
  finish(layer_bytes);
  // Dense weights and small files.
  unfinish();
  FlipBit(out() + "/model-00001-of-00001.safetensors", 5000);
  fs::remove(out() + "/config.json");
  finish(2 * layer_bytes);
}

TEST_F(PackTest, DamagedImagesAreRefused) {
  WriteCheckpoint(model(), Runnable(SmallModel()));
  MustPack();
  const std::string layer = LayerFile(1), whole = ReadFile(layer);
  const auto expect_open = [&](absl::StatusCode code, const std::string& what) {
    ExpectError(Checkpoint::Open(out()).status(), code, what);
  };
  fs::resize_file(layer, whole.size() - 1);
  expect_open(absl::StatusCode::kDataLoss, "is truncated");
  fs::remove(layer);
  expect_open(absl::StatusCode::kNotFound, layer + " is missing");
  fs::copy_file(LayerFile(2), layer);
  expect_open(absl::StatusCode::kFailedPrecondition, "expected layer 1");
  // The same layer of another model.
  WriteCheckpoint(dir_.File("model2"), Runnable(SmallModel()), /*seed=*/9);
  ASSERT_TRUE(PackModel({dir_.File("model2"), dir_.File("out2"), 1}, team_).ok());
  WriteFile(layer, ReadFile(dir_.File("out2/") + PackedLayerName(1)));
  expect_open(absl::StatusCode::kFailedPrecondition, "another checkpoint");
  WriteFile(layer, whole);

  const std::string dense = out() + "/model-00001-of-00001.safetensors";
  const std::string dense_bytes = ReadFile(dense);
  WriteFile(dense, dense_bytes.substr(0, 9000));
  expect_open(absl::StatusCode::kDataLoss, dense);
  WriteFile(dense, dense_bytes);

  FlipBit(layer, whole.size() / 2);
  ExpectError(VerifyImage(out(), team_), absl::StatusCode::kDataLoss, "is damaged");
  absl::Status error;
  Logprobs(out(), {ExpertsMemory::kMap, VerifyExperts::kFull}, &error);
  ExpectError(error, absl::StatusCode::kDataLoss, layer);
  Logprobs(out(), {ExpertsMemory::kCopy, VerifyExperts::kLazy}, &error);
  ExpectError(error, absl::StatusCode::kDataLoss, layer);
  // 70 tokens meet all 5 experts: the request fails, and the engine lives on.
  Logprobs(out(), {ExpertsMemory::kMap, VerifyExperts::kLazy}, &error);
  ExpectError(error, absl::StatusCode::kDataLoss, layer);
  WriteFile(layer, whole);
  FlipBit(dense, dense_bytes.size() - 5);
  ExpectError(VerifyImage(out(), team_), absl::StatusCode::kDataLoss, dense);
}

// Mutated manifests are taken or refused, never more.
TEST_F(PackTest, FuzzedManifests) {
  WriteCheckpoint(model(), SmallModel());
  MustPack();
  const std::string path = out() + "/" + kManifestName, whole = ReadFile(path);
  std::mt19937_64 random(12);
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    std::string text = whole;
    for (int c = 1 + random() % 3; c > 0; --c) {
      const size_t at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, 1 + random() % 20);
      else if (random() % 2)
        text[at] = static_cast<char>(random());
      else
        text.insert(at, "99999999999");
    }
    WriteFile(path, text);
    refused += !Checkpoint::Open(out()).ok();
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace tandem
