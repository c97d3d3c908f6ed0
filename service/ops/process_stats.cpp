#include "service/ops/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace tandem {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

// /proc/self/stat, field 22: ticks between the machine's start and the process's.
double StartUnixSeconds() {
  std::ifstream stat("/proc/self/stat"), uptime("/proc/uptime");
  stat.ignore(std::numeric_limits<std::streamsize>::max(), ')');  // the name may hold anything
  std::string field;
  for (int i = 3; i <= 22; ++i) stat >> field;
  double up_s = 0;
  if (!stat || !(uptime >> up_s)) return 0;
  const double now_s =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return now_s - up_s + std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int32_t CountOpenFiles() {
  std::error_code error;
  int32_t count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error))
    ++count;
  return count;
}

}  // namespace

ProcessStats ReadProcessStats() {
  static const double start_unix_s = StartUnixSeconds();
  ProcessStats stats;
  stats.start_unix_s = start_unix_s;
  int64_t size = 0, resident = 0, shared = 0;
  if (std::ifstream("/proc/self/statm") >> size >> resident >> shared) {
    stats.resident_bytes = resident * sysconf(_SC_PAGESIZE);
    stats.resident_private_bytes = (resident - shared) * sysconf(_SC_PAGESIZE);
  }
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) == 0)
    stats.cpu_s = Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
  stats.open_files = CountOpenFiles();
  return stats;
}

}  // namespace tandem
