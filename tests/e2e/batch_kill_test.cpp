// `tandem batch` killed with SIGKILL at random moments and started again with the same command: in
// the end every request has one result, the one of an undisturbed run.
//
// 50 kills of a job of 500 requests; fewer where the machine is so slow that they would take more
// than two minutes. $TANDEM_BATCH_KILLS asks for another number, without that bound.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/service/batch/job_lines.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Micros = std::chrono::microseconds;

constexpr int kRequests = 500;
constexpr int kKills = 50, kLeastKills = 10;
constexpr auto kTimeForKills = std::chrono::seconds(120);

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string Program() { return Environment("TANDEM_BINARY_DIR") + "/tandem"; }
std::string Model() { return Environment("TANDEM_SOURCE_DIR") + "/tools/demo/model"; }

// Greedy; a third begin alike, some are chats, some are nonsense.
std::string Requests() {
  std::string text;
  for (int i = 0; i < kRequests; ++i) {
    const std::string id = absl::StrCat("r", i);
    if (i % 50 == 7) {
      text += absl::StrCat("{\"custom_id\":\"", id, "\",\"method\":\"GET\"}\n");
    } else if (i % 3 == 0) {
      text += absl::StrCat(
          R"({"custom_id":")", id, R"(","method":"POST","url":"/v1/chat/completions","body":)",
          R"({"model":"demo","messages":[{"role":"user","content":"What is number )", i,
          R"(?"}],"temperature":0,"max_tokens":)", 12 + i % 29, "}}\n");
    } else {
      const std::string common = i % 3 == 1 ? "The old river runs through the green valley. " : "";
      text += CompletionLine(id, absl::StrCat(common, "Number ", i, " is"), 12 + i % 29,
                             R"(,"temperature":0)");
    }
  }
  return text;
}

struct RunResult {
  int exit_code = 0;  // -1: killed
  Micros took{};
};

RunResult RunBatch(const std::string& in, const std::string& out, bool ordered, Micros kill_after) {
  const std::string program = Program(), model = Model();
  const auto start = Clock::now();
  const pid_t child = fork();
  if (child == 0) {
    execl(program.c_str(), "tandem", "--log-level", "error", "batch", "run", model.c_str(),
          in.c_str(), "-o", out.c_str(), "-q", "--threads", "1", "--kv-tokens", "40000",
          "--max-sequences", "64", ordered ? "--ordered" : nullptr, static_cast<char*>(nullptr));
    _exit(127);
  }
  if (kill_after.count() >= 0) {
    std::this_thread::sleep_for(kill_after);
    kill(child, SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          std::chrono::duration_cast<Micros>(Clock::now() - start)};
}

// What must be the same whenever it was computed.
std::map<std::string, std::string> Answers(const std::string& path) {
  std::map<std::string, std::string> answers;
  for (const auto& [id, result] : ResultsOf(path)) {
    if (!result["error"].is_null()) {
      answers[id] = result["error"].dump();
      continue;
    }
    nlohmann::json body = result["response"]["body"];
    for (auto& choice : body["choices"]) {
      if (choice.contains("message")) choice["message"].erase("tool_calls");  // ids are made anew
    }
    answers[id] = body["choices"].dump();
    EXPECT_GT(body["usage"]["completion_tokens"], 0) << result;
  }
  return answers;
}

TEST(BatchKill, KilledAtRandomMomentsItEndsInTheSameResults) {
  if (!fs::exists(Program())) GTEST_SKIP() << Program() << " was not built";
  if (!fs::exists(Model() + "/config.json")) GTEST_SKIP() << "there is no demo model";
  const TempDir dir;
  const std::string in = dir.File("in.jsonl"), whole = dir.File("whole.jsonl");
  WriteFile(in, Requests());
  const RunResult undisturbed = RunBatch(in, whole, false, Micros(-1));
  ASSERT_EQ(undisturbed.exit_code, 0);
  const auto expected = Answers(whole);
  ASSERT_EQ(expected.size(), static_cast<size_t>(kRequests));

  const std::string asked = Environment("TANDEM_BATCH_KILLS");
  const int kills = asked.empty() ? kKills : std::atoi(asked.c_str());
  std::mt19937_64 random(7);
  int killed = 0, jobs = 0;
  const auto start = Clock::now();
  const auto enough = [&] {
    if (killed >= kills) return true;
    return asked.empty() && killed >= kLeastKills && Clock::now() - start > kTimeForKills;
  };
  for (; !enough(); ++jobs) {
    const std::string out = dir.File(absl::StrCat("out", jobs, ".jsonl"));
    const bool ordered = jobs % 3 == 2;
    RunResult last;
    do {
      const auto after = Micros(random() % static_cast<uint64_t>(undisturbed.took.count()));
      last = RunBatch(in, out, ordered, enough() ? Micros(-1) : after);
      killed += last.exit_code == -1;
    } while (last.exit_code == -1);
    ASSERT_EQ(last.exit_code, 0);
    EXPECT_EQ(Answers(out), expected) << "job " << jobs;
    EXPECT_FALSE(fs::exists(out + ".unordered"));
  }
  std::printf("%d kills, %d jobs, an undisturbed one takes %.1f s\n", killed, jobs,
              static_cast<double>(undisturbed.took.count()) / 1e6);
  EXPECT_GE(killed, std::min(kills, kLeastKills));
}

}  // namespace
}  // namespace tandem
