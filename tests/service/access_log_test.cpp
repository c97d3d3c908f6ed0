#include "service/ops/access_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_split.h"
#include "tests/service/answered.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using tandem::testing::Answered;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AccessLogTest : public ::testing::Test {
 protected:
  AccessLogTest() { std::filesystem::create_directories(folder_); }
  ~AccessLogTest() override { std::filesystem::remove_all(folder_); }

  static std::vector<json> Lines(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("tandem_access_log." + std::to_string(getpid()));
  const std::string path_ = folder_ / "access.log";
};

TEST_F(AccessLogTest, ALineHasWhatWasKnown) {
  RequestLog log = Answered("POST /v1/messages", 499);
  log.caller = "a\xff\"\n";
  log.task = "t";
  log.error = std::string(5000, 'e');
  const std::string text = AccessLine(log, 1767225600123);
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  const json line = json::parse(text);
  EXPECT_EQ(line["time"], "2026-01-01T00:00:00.123Z");
  EXPECT_EQ(line["method"], "POST /v1/messages");
  EXPECT_EQ(line["status"], 499);
  EXPECT_EQ(line["cached_tokens"], 64);
  EXPECT_EQ(line["prefill_s"], 0.3);
  EXPECT_EQ(line["first_token_s"], 0.5);
  EXPECT_EQ(line["error"].get<std::string>().size(), 1024u);
  EXPECT_FALSE(line.contains("agent"));
  log.generated = false;
  EXPECT_FALSE(json::parse(AccessLine(log, 0)).contains("prompt_tokens"));
}

TEST_F(AccessLogTest, WritesInOrderAndAppends) {
  for (int run = 0; run < 2; ++run) {
    const auto log = AccessLog::Open(path_);
    ASSERT_TRUE(log.ok()) << log.status();
    for (int i = 0; i < 500; ++i) (*log)->Ended(Answered("GET /" + std::to_string(i)));
  }
  const std::vector<json> lines = Lines(path_);
  ASSERT_EQ(lines.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(lines[i]["method"], "GET /" + std::to_string(i % 500));
}

TEST_F(AccessLogTest, GoesOnInANewFileAfterARename) {
  const auto log = AccessLog::Open(path_);
  ASSERT_TRUE(log.ok());
  (*log)->Ended(Answered("GET /first"));
  while (Lines(path_).empty()) std::this_thread::sleep_for(1ms);
  std::filesystem::rename(path_, path_ + ".1");
  (*log)->Ended(Answered("GET /second"));
  while (!std::filesystem::exists(path_) || Lines(path_).empty()) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(Lines(path_)[0]["method"], "GET /second");
  EXPECT_EQ(Lines(path_ + ".1").size(), 1u);
}

TEST_F(AccessLogTest, TellsOfLinesThatItLeftOut) {
  // A pipe that nobody reads: the writer waits, callers do not.
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  const int reader = open(path_.c_str(), O_RDONLY | O_NONBLOCK);
  std::string text;
  {
    auto log = AccessLog::Open(path_);
    ASSERT_TRUE(log.ok()) << log.status();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 40000; ++i) (*log)->Ended(Answered("GET /"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
    std::thread read_all([&] {
      char buffer[65536];
      while (const ssize_t n = read(reader, buffer, sizeof buffer)) {
        if (n > 0) text.append(buffer, n);
        if (n < 0) std::this_thread::sleep_for(1ms);
      }
    });
    log->reset();  // hangs up at last
    read_all.join();
  }
  close(reader);
  std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  int64_t lost = 0, written = 0;
  for (const std::string& line : lines) {
    const json parsed = json::parse(line);
    parsed.contains("lost") ? lost += parsed["lost"].get<int64_t>() : ++written;
  }
  EXPECT_GT(lost, 0);
  EXPECT_EQ(written + lost, 40000);
}

TEST_F(AccessLogTest, SaysWhyItCannotBeOpened) {
  const auto log = AccessLog::Open(folder_ / "nowhere" / "access.log");
  ASSERT_FALSE(log.ok());
  EXPECT_THAT(std::string(log.status().message()),
              AllOf(HasSubstr("access log"), HasSubstr("No such file")));
}

}  // namespace
}  // namespace tandem
