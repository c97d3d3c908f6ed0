#include "engine/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine_checkpoint/files.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Parses a file with this content.
class SafetensorsTest : public testing::Test {
 protected:
  absl::StatusOr<std::vector<NamedTensor>> Parse(const std::string& content) {
    WriteFile(dir_.File("a.safetensors"), content);
    auto file = MappedFile::Open(dir_.File("a.safetensors"));
    if (!file.ok()) return file.status();
    file_ = std::move(file).value();
    return ParseSafetensors(file_);
  }
  // The file must be refused with a message that names it and says `what`.
  void ExpectRefused(const std::string& content, const std::string& what) {
    const auto parsed = Parse(content);
    ASSERT_FALSE(parsed.ok()) << "accepted, expected: " << what;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("a.safetensors"));
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(what));
  }

  TempDir dir_;
  MappedFile file_;
};

TEST_F(SafetensorsTest, ReadsWhatIsThere) {
  const auto parsed = Parse(SafetensorsText()
                                .Add("b", "F32", {2, 3}, std::string(24, 'x'))
                                .Add("a", "BF16", {5}, std::string(10, 'y'))
                                .Add("scalar", "I64", {}, std::string(8, 'z'))
                                .Add("empty", "U8", {0, 7}, "")
                                .Build());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 4u);
  EXPECT_EQ((*parsed)[0].name, "b");
  EXPECT_EQ((*parsed)[0].tensor.dtype, DType::kF32);
  EXPECT_EQ((*parsed)[0].tensor.shape, (TensorDims{2, 3}));
  EXPECT_EQ((*parsed)[1].name, "a");
  EXPECT_EQ((*parsed)[1].tensor.bytes.size(), 10u);
  EXPECT_EQ((*parsed)[1].tensor.bytes[0], std::byte{'y'});
}

TEST_F(SafetensorsTest, IgnoresMetadataAndPadding) {
  const auto parsed = Parse(RawSafetensors(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}    )",
      "x"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->size(), 1u);
}

TEST_F(SafetensorsTest, RefusesBadLengths) {
  ExpectRefused("abc", "too few");
  ExpectRefused(std::string(8, '\xff'), "is not a safetensors file");
  std::string file = RawSafetensors("{}", "");
  file[0] = 100;
  ExpectRefused(file, "truncated: the header has 100 bytes, the file only 2");
}

TEST_F(SafetensorsTest, RefusesTruncatedData) {
  std::string file = SafetensorsText().Add("weight", "F32", {4}, std::string(16, 'x')).Build();
  file.resize(file.size() - 3);
  ExpectRefused(file, "truncated: tensor \"weight\" ends at data byte 16, the file has 13");
}

TEST_F(SafetensorsTest, RefusesTrailingData) {
  ExpectRefused(SafetensorsText().Add("weight", "U8", {2}, "ab").Build() + "c",
                "the tensors end at data byte 2, but the file has 3");
}

// One tensor "w" with this body.
std::string OneTensor(const std::string& body, const std::string& data = "abcd") {
  return RawSafetensors("{\"w\":" + body + "}", data);
}

TEST_F(SafetensorsTest, RefusesMalformedHeaders) {
  ExpectRefused(RawSafetensors("{\"a\":", ""), "not valid JSON");
  ExpectRefused(RawSafetensors(std::string("{}\0{}", 5), ""), "not valid JSON at byte 3");
  ExpectRefused(RawSafetensors("[]", ""), "not a JSON object");
  ExpectRefused(RawSafetensors("{\"a\":7}", ""), "expected an object, found the number 7");
  ExpectRefused(RawSafetensors("{\"a\xff\":7}", ""), "not valid JSON");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4]})"), "lacks data_offsets");
  ExpectRefused(OneTensor(R"({"dtype":"U8","data_offsets":[0,4]})"), "lacks shape");
  ExpectRefused(OneTensor(R"({"shape":[4],"data_offsets":[0,4]})"), "lacks dtype");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0]})"),
                "lacks data_offsets");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4,8]})"), "the number 8");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[-4],"data_offsets":[0,4]})"), "the number -4");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4.5],"data_offsets":[0,4]})"),
                "the number 4.5");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[[4]],"data_offsets":[0,4]})"), "a list");
  ExpectRefused(OneTensor(R"({"dtype":"Q7","shape":[4],"data_offsets":[0,4]})"),
                "unknown dtype \"Q7\"");
  ExpectRefused(OneTensor(R"({"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
                "did not expect the text");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"more":1})"),
                "key \"more\"");
  ExpectRefused(RawSafetensors("{\"__metadata__\":{\"a\":{}}}", ""), "__metadata__");
}

TEST_F(SafetensorsTest, RefusesDeepNesting) {
  ExpectRefused(RawSafetensors(std::string(1'000'000, '['), ""), "not a JSON object");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  ExpectRefused(RawSafetensors(deep, ""), "did not expect an object");
}

TEST_F(SafetensorsTest, RefusesDuplicateNames) {
  const std::string one = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  ExpectRefused(RawSafetensors("{\"a\":" + one + "[0,2]},\"a\":" + one + "[2,4]}}", "abcd"),
                "tensor \"a\" appears twice");
}

TEST_F(SafetensorsTest, RefusesSizesThatDisagree) {
  ExpectRefused(OneTensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"),
                "F32 [2] needs 8 bytes, but data_offsets [0, 4] hold 4");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[4,0]})"), "run backwards");
  ExpectRefused(
      OneTensor(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]})"),
      "overflows 64 bits");
  ExpectRefused(OneTensor(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4]})"),
                "the number 18446744073709551615");
  ExpectRefused(
      OneTensor(
          R"({"dtype":"U8","shape":[18446744073709551614],"data_offsets":[2,18446744073709551616]})"),
      "number");
}

TEST_F(SafetensorsTest, RefusesOverlapsAndHoles) {
  const auto two = [](const std::string& a, const std::string& b) {
    const std::string start = R"({"dtype":"U8","shape":[2],"data_offsets":)";
    return RawSafetensors("{\"a\":" + start + a + "},\"b\":" + start + b + "}}", "abcd");
  };
  ASSERT_TRUE(Parse(two("[2,4]", "[0,2]")).ok());
  ExpectRefused(two("[0,2]", "[1,3]"), "tensor \"b\" starts at data byte 1 and overlaps \"a\"");
  ExpectRefused(two("[0,2]", "[0,2]"), "overlaps");
  ExpectRefused(two("[1,3]", "[3,5]"), "truncated");
  ExpectRefused(RawSafetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", "abc"),
                "1 unused bytes before tensor \"a\"");
}

}  // namespace
}  // namespace tandem
