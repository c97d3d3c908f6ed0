// `tandem pack` killed with SIGKILL at random moments and started again: the image that comes out
// in the end is the one of an undisturbed run.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "engine/checkpoint/pack.h"
#include "tests/engine_checkpoint/synth_checkpoints.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string Program() {
  const char* dir = std::getenv("TANDEM_BINARY_DIR");
  return std::string(dir != nullptr ? dir : ".") + "/tandem";
}

// Exit code, or -1 after SIGKILL. `kill_after` negative: not killed.
int RunPack(const std::string& model, const std::string& out,
            std::chrono::microseconds kill_after) {
  const std::string program = Program();
  const pid_t child = fork();
  if (child == 0) {
    execl(program.c_str(), "tandem", "--log-level", "error", "pack", "-q", "--threads", "2",
          model.c_str(), out.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  if (kill_after.count() >= 0) {
    std::this_thread::sleep_for(kill_after);
    kill(child, SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::map<std::string, std::string> Contents(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir))
    files[entry.path().filename().string()] = ReadFile(entry.path().string());
  return files;
}

TEST(PackKill, KilledAtRandomMomentsItEndsInTheSameImage) {
  if (!fs::exists(Program())) GTEST_SKIP() << Program() << " was not built";
  SynthModel model = SmallModel();
  model.shape.layers = 5;
  model.shape.hidden = 256;
  model.shape.experts = 48;
  model.shape.expert_intermediate = 128;
  const TempDir dir;
  WriteCheckpoint(dir.File("model"), model);
  const auto start = Clock::now();
  ASSERT_EQ(RunPack(dir.File("model"), dir.File("whole"), std::chrono::microseconds(-1)), 0);
  const auto whole_us =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
  const auto expected = Contents(dir.File("whole"));

  std::mt19937_64 random(21);
  int killed = 0;
  for (int round = 0; round < 4; ++round) {
    const std::string out = dir.File("out" + std::to_string(round));
    for (int i = 0; i < 8; ++i) {
      const auto after = std::chrono::microseconds(random() % whole_us);
      killed += RunPack(dir.File("model"), out, after) != 0;
      EXPECT_TRUE(!fs::exists(out + "/config.json") || Checkpoint::Open(out).ok() ||
                  absl::IsFailedPrecondition(Checkpoint::Open(out).status()))
          << "half an image is not taken for a model";
    }
    ASSERT_EQ(RunPack(dir.File("model"), out, std::chrono::microseconds(-1)), 0);
    EXPECT_EQ(Contents(out), expected);
  }
  EXPECT_GT(killed, 8) << "nothing was ever killed in time";
}

}  // namespace
}  // namespace tandem
