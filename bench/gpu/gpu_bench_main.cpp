// Times the GPU's kernels, the hand-over between GPU and CPU, and decode steps; one table.
//
//   gpu_bench [--quick] [--json FILE] [--seconds N] [PART...]
//
// --quick    tiny shapes: shows that everything works
// --seconds  for all parts together; what is over its share is cut off and said so
//
// Each part runs in a process of its own and sends its rows through a pipe.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/gpu/parts.h"

namespace tandem::TANDEM_GPU {
namespace {

using Clock = std::chrono::steady_clock;

#ifdef TANDEM_GPU_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

struct Part {
  const char* name;
  absl::Status (*run)(BenchContext&);
  double seconds;  // its share
};
constexpr Part kParts[] = {
    {"roofs", BenchRoofs, 20},    {"attention", BenchAttention, 40},
    {"dense", BenchDense, 40},    {"experts", BenchExperts, 40},
    {"link", BenchLink, 60},      {"dense_stack", BenchDenseStack, 60},
    {"hybrid", BenchHybrid, 130},
};
// Lines of the pipe that are no rows begin with these.
constexpr char kDeviceLine[] = "\x02", kErrorLine[] = "\x03";

struct Options {
  bool quick = false;
  std::string json;
  double seconds = 600;
  std::vector<std::string> parts;
};

// What the child processes told.
struct Told {
  std::string device;
  std::vector<GpuBenchRow> rows;
  std::vector<std::string> problems;
};

void WriteLine(int pipe, const std::string& line) {
  const std::string whole = line + '\n';
  if (write(pipe, whole.data(), whole.size()) < 0) std::perror("gpu_bench: pipe");
}

// The child.
[[noreturn]] void RunPart(const Part& part, bool quick, int pipe) {
  auto bench =
      BenchContext::Create(quick, [pipe](const GpuBenchRow& row) { WriteLine(pipe, Pack(row)); });
  absl::Status status = bench.status();
  if (status.ok()) {
    const DeviceProperties& d = bench->device();
    WriteLine(pipe, absl::StrCat(kDeviceLine, d.name, ", ", d.multiprocessors,
                                 " multiprocessors, sm_", d.compute_major, d.compute_minor));
    status = part.run(*bench);
  }
  if (!status.ok()) WriteLine(pipe, kErrorLine + status.ToString());
  std::fflush(nullptr);
  _exit(status.ok() ? 0 : 1);  // no destructor may hang on a broken device
}

void TakeLine(const std::string& line, Told& told) {
  if (line.starts_with(kDeviceLine)) {
    if (told.device.empty()) {
      told.device = line.substr(1);
      std::printf("%s\n", told.device.c_str());
    }
  } else if (line.starts_with(kErrorLine)) {
    told.problems.push_back(line.substr(1));
  } else if (const auto row = Unpack(line); row.ok()) {
    told.rows.push_back(*row);
    std::printf("%s\n", ToText(*row, RoofsOf(told.rows), !kEmulated).c_str());
  }
  std::fflush(stdout);
}

// Reads until the child closes the pipe; false at the deadline.
bool ReadLines(int pipe, Clock::time_point deadline, Told& told) {
  std::string pending;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd waiting = {pipe, POLLIN, 0};
    if (left <= 0 || poll(&waiting, 1, static_cast<int>(left)) == 0) return false;
    char buffer[4096];
    const ssize_t n = read(pipe, buffer, sizeof(buffer));
    if (n <= 0) return true;
    pending.append(buffer, n);
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1))
      TakeLine(pending.substr(0, end), told);
  }
}

void Watch(const Part& part, const Options& options, double seconds, Told& told) {
  int ends[2];
  if (pipe(ends) != 0) return told.problems.push_back("no pipe");
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    RunPart(part, options.quick, ends[1]);
  }
  close(ends[1]);
  const size_t before = told.problems.size();
  const auto budget = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(std::max(seconds, 0.1)));
  const bool finished = ReadLines(ends[0], Clock::now() + budget, told);
  close(ends[0]);
  if (!finished) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  std::string problem;
  if (!finished) {
    problem = absl::StrFormat("cut off after %.0f s", seconds);
  } else if (WIFSIGNALED(status)) {
    problem = absl::StrCat("crashed: ", strsignal(WTERMSIG(status)));
  } else if (told.problems.size() > before) {
    problem = told.problems.back();
    told.problems.pop_back();
  }
  if (problem.empty()) return;
  told.problems.push_back(absl::StrCat("part ", part.name, ": ", problem));
  std::printf("%s\n", told.problems.back().c_str());
  std::fflush(stdout);
}

void WriteJson(const std::string& path, const Told& told) {
  const GpuRoofs roofs = RoofsOf(told.rows);
  std::ofstream file(path);
  file << "{\"device\": " << JsonString(told.device)
       << ", \"emulated\": " << (kEmulated ? "true" : "false")
       << absl::StrFormat(", \"memory_gb_per_s\": %.1f, \"tensor_tflop_per_s\": %.1f",
                          roofs.memory_gb_per_s, roofs.tensor_tflop_per_s)
       << ",\n \"problems\": [";
  for (size_t i = 0; i < told.problems.size(); ++i)
    file << (i > 0 ? ", " : "") << JsonString(told.problems[i]);
  file << "],\n \"rows\": [";
  for (size_t i = 0; i < told.rows.size(); ++i)
    file << (i > 0 ? ",\n  " : "\n  ") << ToJson(told.rows[i], roofs);
  file << "]}\n";
  if (!file) std::fprintf(stderr, "gpu_bench: cannot write %s\n", path.c_str());
}

bool Parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") {
      options.quick = true;
    } else if (arg == "--json" && i + 1 < argc) {
      options.json = argv[++i];
    } else if (arg == "--seconds" && i + 1 < argc) {
      options.seconds = std::atof(argv[++i]);
    } else if (std::ranges::any_of(kParts, [&](const Part& part) { return part.name == arg; })) {
      options.parts.push_back(arg);
    } else {
      std::fprintf(stderr, "gpu_bench: unknown argument %s\n", arg.c_str());
      return false;
    }
  }
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  if (!Parse(argc, argv, options)) return 2;
  if (kEmulated) std::printf("EMULATED on the CPU: the times below say nothing about any GPU.\n");
  const auto end = Clock::now() + std::chrono::duration<double>(options.seconds);
  Told told;
  for (const Part& part : kParts) {
    // The roofs are always measured: the others are held to them.
    if (!options.parts.empty() && &part != kParts &&
        std::ranges::find(options.parts, part.name) == options.parts.end())
      continue;
    const double left = std::chrono::duration<double>(end - Clock::now()).count();
    Watch(part, options, std::min(part.seconds, left), told);
  }
  if (!options.json.empty()) WriteJson(options.json, told);
  std::printf("%zu rows, %zu problems\n", told.rows.size(), told.problems.size());
  return told.problems.empty() ? 0 : 1;
}

}  // namespace
}  // namespace tandem::TANDEM_GPU

int main(int argc, char** argv) { return tandem::TANDEM_GPU::Main(argc, argv); }
