// Progress of long work on stderr: done, rate and time left. On a terminal one line that redraws
// itself; elsewhere a line every ten seconds. Short work prints nothing but its last line.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace tandem {

// Called with bytes done and bytes in all; from any thread.
using ProgressFn = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

// Thread-safe.
class ProgressPrinter {
 public:
  // `what` starts the line, e.g. "loading".
  explicit ProgressPrinter(std::string what);
  // Finishes the line.
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  void Update(int64_t done_bytes, int64_t total_bytes);
  // Update() as a function to hand on; the printer must outlive it.
  ProgressFn Fn();

 private:
  using Clock = std::chrono::steady_clock;
  void Print(int64_t done_bytes, int64_t total_bytes, double elapsed_s);

  std::string what_;
  bool is_terminal_;
  Clock::time_point start_, next_print_;
  std::mutex mutex_;
  int64_t done_bytes_ = 0, total_bytes_ = 0;
  bool line_open_ = false;
};

std::string DurationText(double seconds);  // "42 s", "3 min 05 s", "2 h 10 min"
// "11.3 GB", "42 MB": decimal units, as disks are sold.
std::string BytesText(int64_t bytes);
// The text of one progress line; for tests.
std::string ProgressText(const std::string& what, int64_t done_bytes, int64_t total_bytes,
                         double elapsed_s);

}  // namespace tandem
