#include "core/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace tandem {
namespace {

TEST(Trace, WritesChromeJsonOfAllThreads) {
  const std::string path =
      (std::filesystem::temp_directory_path() / (std::to_string(getpid()) + "trace.json")).string();
  { TraceSpan before("not recorded"); }
  Trace::Start();
  {
    TraceSpan outer("attention", 7);
    TraceSpan inner("rope");
  }
  std::thread([] { TraceSpan span("experts", 3); }).join();
  ASSERT_TRUE(Trace::StopAndWrite(path).ok());
  { TraceSpan after("not recorded"); }

  const auto json = nlohmann::json::parse(std::ifstream(path));
  const auto& events = json.at("traceEvents");
  ASSERT_EQ(events.size(), 3u);
  std::map<std::string, nlohmann::json> by_name;
  for (const auto& e : events) by_name[e.at("name")] = e;
  EXPECT_EQ(by_name.at("attention").at("args").at("arg"), 7);
  EXPECT_NE(by_name.at("attention").at("tid"), by_name.at("experts").at("tid"));
  EXPECT_LE(by_name.at("rope").at("dur").get<double>(),
            by_name.at("attention").at("dur").get<double>());
  std::filesystem::remove(path);
}

TEST(Trace, UnwritableFileIsAnError) {
  Trace::Start();
  const absl::Status status = Trace::StopAndWrite("/nowhere/trace.json");
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("/nowhere/trace.json"));
}

}  // namespace
}  // namespace tandem
