#include "engine/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/engine_checkpoint/files.h"

namespace tandem {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Two shards, "a" and "b" in the first, "c" in the second.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteFile(dir_.File("config.json"), TinyConfig().dump());
    WriteFile(dir_.File("one.safetensors"),
              SafetensorsText().Add("a", "U8", {2}, "ab").Add("b", "U8", {1}, "b").Build());
    WriteFile(dir_.File("two.safetensors"), SafetensorsText().Add("c", "U8", {1}, "c").Build());
    WriteIndex(Index());
  }
  static json Index() {
    return {{"metadata", {{"total_size", 4}}},
            {"weight_map",
             {{"a", "one.safetensors"}, {"b", "one.safetensors"}, {"c", "two.safetensors"}}}};
  }
  void WriteIndex(const json& index) {
    WriteFile(dir_.File("model.safetensors.index.json"), index.dump());
  }
  void ExpectRefused(const std::string& what) {
    const auto opened = Checkpoint::Open(dir_.path());
    ASSERT_FALSE(opened.ok()) << "accepted, expected: " << what;
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr(dir_.path()));
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr(what));
  }
  TempDir dir_;
};

TEST_F(CheckpointTest, OpensShards) {
  WriteFile(dir_.File("not_listed.safetensors"), "garbage");
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->n_tensors(), 3);
  EXPECT_EQ((*checkpoint)->n_shards(), 2);
  EXPECT_EQ((*checkpoint)->total_bytes(), 4);
  EXPECT_EQ((*checkpoint)->Find("c")->bytes[0], std::byte{'c'});
  EXPECT_EQ((*checkpoint)->Find("d").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointTest, OpensASingleFile) {
  std::filesystem::remove(dir_.File("model.safetensors.index.json"));
  std::filesystem::rename(dir_.File("one.safetensors"), dir_.File("model.safetensors"));
  const auto checkpoint = Checkpoint::Open(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->n_tensors(), 2);
}

TEST_F(CheckpointTest, FollowsLinksLikeTheHuggingFaceCache) {
  std::filesystem::create_directory(dir_.File("blobs"));
  std::filesystem::rename(dir_.File("two.safetensors"), dir_.File("blobs/0123"));
  std::filesystem::create_symlink("blobs/0123", dir_.File("two.safetensors"));
  EXPECT_TRUE(Checkpoint::Open(dir_.path()).ok());
  std::filesystem::remove(dir_.File("blobs/0123"));
  ExpectRefused("two.safetensors is missing: the link points to nothing");
}

TEST_F(CheckpointTest, RefusesFilesOutsideTheFolder) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", "",
                           "a\\b", "one.safetensors\n"}) {
    json index = Index();
    index["weight_map"]["b"] = name;
    WriteIndex(index);
    ExpectRefused("expected the plain name of a file in this folder");
  }
}

TEST_F(CheckpointTest, RefusesAMissingShard) {
  std::filesystem::remove(dir_.File("two.safetensors"));
  ExpectRefused("two.safetensors is missing");
  std::filesystem::create_directory(dir_.File("two.safetensors"));
  ExpectRefused("two.safetensors is not a regular file");
}

TEST_F(CheckpointTest, RefusesATensorThatIsNotInItsShard) {
  json index = Index();
  index["weight_map"]["d"] = "two.safetensors";
  index["weight_map"]["a"] = "two.safetensors";
  WriteIndex(index);
  ExpectRefused(
      "two.safetensors: tensor \"a\" is listed in model.safetensors.index.json but is "
      "not in this shard (2 such tensors");
}

TEST_F(CheckpointTest, RefusesATensorInTwoShards) {
  WriteFile(dir_.File("two.safetensors"),
            SafetensorsText().Add("c", "U8", {1}, "c").Add("a", "U8", {1}, "a").Build());
  ExpectRefused("tensor \"a\" is in two shards");
}

TEST_F(CheckpointTest, RefusesABrokenIndex) {
  WriteIndex({{"weight_map", json::object()}});
  ExpectRefused("expected an object \"weight_map\"");
  WriteIndex({{"weight_map", {{"a", 7}}}});
  ExpectRefused("is said to lie in \"7\"");
  WriteFile(dir_.File("model.safetensors.index.json"),
            R"({"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}})");
  ExpectRefused("key \"a\" appears twice");
}

TEST_F(CheckpointTest, SaysWhatIsInTheFolderInstead) {
  std::filesystem::remove(dir_.File("model.safetensors.index.json"));
  ExpectRefused("holds neither model.safetensors.index.json nor model.safetensors");
  WriteFile(dir_.File("pytorch_model.bin"), "x");
  ExpectRefused("convert it to safetensors");
  EXPECT_THAT(std::string(Checkpoint::Open(dir_.File("no")).status().message()),
              HasSubstr("there is no folder"));
}

}  // namespace
}  // namespace tandem
