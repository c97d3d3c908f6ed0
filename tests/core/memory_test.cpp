#include "core/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/bus_errors.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string TempPath(const char* name) {
  return (std::filesystem::temp_directory_path() / (std::to_string(getpid()) + name)).string();
}

TEST(NumaBuffer, IsZeroedAlignedAndReturned) {
  for (size_t size :
       {size_t{1}, size_t{4096}, size_t{5000}, size_t{2} << 20, (size_t{6} << 20) + 3}) {
    const int64_t before = ReadResidentMemory().now_bytes;
    {
      auto buffer = NumaBuffer::Allocate(size);
      ASSERT_TRUE(buffer.ok()) << buffer.status();
      EXPECT_GE(buffer->size_bytes(), size);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 4096, 0u);
      EXPECT_EQ(buffer->as<uint8_t>()[size - 1], 0);
      std::memset(buffer->data(), 1, buffer->size_bytes());
      NumaBuffer moved = *std::move(buffer);
      EXPECT_EQ(moved.as<uint8_t>()[0], 1);
    }
    EXPECT_LT(ReadResidentMemory().now_bytes, before + (4 << 20));
  }
}

TEST(NumaBuffer, LiesOnHugePagesWhereTheSystemGrantsThem) {
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string words;
  std::getline(setting, words);
  if (words.empty() || words.find("[never]") != std::string::npos)
    GTEST_SKIP() << "this system has no transparent huge pages: " << words;
  const int64_t before = ReadHugePageBytes();
  auto buffer = NumaBuffer::Allocate(32 << 20);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  std::memset(buffer->data(), 1, buffer->size_bytes());
  EXPECT_GE(ReadHugePageBytes(), before + (2 << 20));
}

TEST(NumaBuffer, NothingForNothing) {
  auto buffer = NumaBuffer::Allocate(0);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->data(), nullptr);
}

TEST(NumaBuffer, TooMuchIsAnErrorWithTheSize) {
  auto buffer = NumaBuffer::Allocate(size_t{1} << 60);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(buffer.status().message()), HasSubstr("1152921504606846976"));
}

TEST(MappedFile, ReadsAndDropsPages) {
  const std::string path = TempPath("mapped");
  std::string content(3 << 20, 'x');
  content.front() = 'a';
  content.back() = 'z';
  std::ofstream(path) << content;
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->bytes().size(), content.size());
  EXPECT_EQ(std::memcmp(file->bytes().data(), content.data(), content.size()), 0);
  file->Advise(file->bytes(), /*will_need=*/false);
  EXPECT_EQ(std::memcmp(file->bytes().data(), content.data(), content.size()), 0);
  std::filesystem::remove(path);
}

TEST(MappedFile, ErrorsNameThePath) {
  auto missing = MappedFile::Open("/nowhere/at/all");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nowhere/at/all"));
  auto folder = MappedFile::Open("/tmp");
  EXPECT_THAT(std::string(folder.status().message()), HasSubstr("/tmp is not a regular file"));
}

TEST(MappedFile, EmptyFile) {
  const std::string path = TempPath("empty");
  std::ofstream(path).close();
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->bytes().empty());
  std::filesystem::remove(path);
}

TEST(MappedFile, OneThatIsCutShortWhileItIsUsedIsNamed) {
  const std::string path = TempPath("cut");
  std::ofstream(path) << std::string(64 << 10, 'x');
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 100);
  EXPECT_EXIT(
      {
        ExplainBusErrors();
        const auto* bytes = reinterpret_cast<const volatile char*>(file->bytes().data());
        std::exit(bytes[40000] == 'x' ? 2 : 3);
      },
      testing::ExitedWithCode(1), "lost its bytes.*cut, at byte 40000");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tandem
