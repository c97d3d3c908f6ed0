// Lengths, dimensions and offsets at the edges of their types: accepted exactly when the tensors
// tile the data, whatever overflows on the way; and a header cut off anywhere.
#include <gtest/gtest.h>

#include <optional>

#include "engine/checkpoint/safetensors.h"
#include "tests/engine_checkpoint/files.h"
#include "tests/fuzz/scratch_file.h"

namespace tandem {
namespace {

using Wide = unsigned __int128;

constexpr uint64_t kEdges[] = {0,
                               1,
                               2,
                               (uint64_t{1} << 31) - 1,
                               uint64_t{1} << 31,
                               (uint64_t{1} << 31) + 1,
                               (uint64_t{1} << 32) - 1,
                               uint64_t{1} << 32,
                               (uint64_t{1} << 32) + 1,
                               (uint64_t{1} << 63) - 1,
                               uint64_t{1} << 63,
                               (uint64_t{1} << 63) + 1,
                               UINT64_MAX - 7,
                               UINT64_MAX};

class SafetensorsSizes : public testing::Test {
 protected:
  // Whether it is accepted; then every tensor lies inside the file.
  bool Accepts(const std::string& content) {
    scratch_.Write(reinterpret_cast<const uint8_t*>(content.data()), content.size());
    auto file = MappedFile::Open(scratch_.path());
    if (!file.ok()) return false;
    const auto tensors = ParseSafetensors(*file);
    if (!tensors.ok()) {
      EXPECT_FALSE(tensors.status().message().empty());
      return false;
    }
    const auto bytes = file->bytes();
    for (const NamedTensor& named : *tensors) {
      const auto part = named.tensor.bytes;
      EXPECT_TRUE(part.empty() || (part.data() >= bytes.data() &&
                                   part.data() + part.size() <= bytes.data() + bytes.size()));
    }
    return true;
  }
  ScratchFile scratch_;
};

TEST_F(SafetensorsSizes, LengthOfTheHeader) {
  const std::string good = SafetensorsText().Add("w", "U8", {1}, "x").Build();
  ASSERT_TRUE(Accepts(good));
  for (const uint64_t length : kEdges) {
    std::string file = good;
    std::memcpy(file.data(), &length, 8);
    EXPECT_FALSE(Accepts(file)) << length;
  }
}

TEST_F(SafetensorsSizes, DimensionsAndOffsets) {
  const std::string data = "x";
  int accepted = 0;
  for (const auto& [dtype, size] : {std::pair("U8", 1), std::pair("F64", 8)}) {
    for (const uint64_t rows : kEdges) {
      for (const uint64_t columns : kEdges) {
        for (const uint64_t begin : {uint64_t{0}, UINT64_MAX}) {
          for (const uint64_t end : kEdges) {
            const std::string header = std::string(R"({"w":{"dtype":")") + dtype +
                                       R"(","shape":[)" + std::to_string(rows) + "," +
                                       std::to_string(columns) + R"(],"data_offsets":[)" +
                                       std::to_string(begin) + "," + std::to_string(end) + "]}}";
            // 128 bits hold these products, so the rule is written as it is meant.
            const bool fits = rows <= INT64_MAX && columns <= INT64_MAX && begin == 0 &&
                              end == data.size() && Wide{rows} * columns * size == end;
            EXPECT_EQ(Accepts(RawSafetensors(header, data)), fits) << header;
            accepted += fits ? 1 : 0;
          }
        }
      }
    }
  }
  EXPECT_EQ(accepted, 1) << "one byte, one by one";
}

TEST_F(SafetensorsSizes, CutOffAtEveryByteOfTheHeader) {
  const std::string good = SafetensorsText()
                               .Add("model.layers.0.weight", "F32", {2, 3}, std::string(24, 'x'))
                               .Add("bias", "BF16", {5}, std::string(10, 'y'))
                               .Build();
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, good.data(), 8);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(Accepts(good.substr(0, size))) << size;
    // The same cut with a length that fits what is left of the header.
    if (size < 8 || size >= 8 + header_bytes) continue;
    EXPECT_FALSE(Accepts(RawSafetensors(good.substr(8, size - 8), good.substr(8 + header_bytes))));
  }
  EXPECT_TRUE(Accepts(good));
}

TEST_F(SafetensorsSizes, ManyAndLongNames) {
  const auto entry = [](const std::string& name, size_t at) {
    return "\"" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(at) +
           "," + std::to_string(at + 1) + "]}";
  };
  std::string many = "{";
  for (int i = 0; i < 50'000; ++i) many += (i == 0 ? "" : ",") + entry(std::to_string(i), i);
  EXPECT_TRUE(Accepts(RawSafetensors(many + "}", std::string(50'000, 'x'))));
  EXPECT_FALSE(
      Accepts(RawSafetensors(many + "," + entry("49999", 50'000) + "}", std::string(50'001, 'x'))));
  EXPECT_TRUE(Accepts(RawSafetensors("{" + entry(std::string(1 << 20, 'n'), 0) + "}", "x")));
  std::string dims = R"({"w":{"dtype":"U8","shape":[1)";
  for (int i = 0; i < 100'000; ++i) dims += ",1";
  EXPECT_FALSE(Accepts(RawSafetensors(dims + R"(],"data_offsets":[0,1]}})", "x")));
}

}  // namespace
}  // namespace tandem
