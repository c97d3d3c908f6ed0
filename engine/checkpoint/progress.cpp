#include "engine/checkpoint/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"

namespace tandem {
std::string DurationText(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return absl::StrFormat("%d s", s);
  if (s < 3600) return absl::StrFormat("%d min %02d s", s / 60, s % 60);
  return absl::StrFormat("%d h %02d min", s / 3600, s / 60 % 60);
}

std::string BytesText(int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b >= 1e9) return absl::StrFormat("%.1f GB", b / 1e9);
  if (b >= 1e6) return absl::StrFormat("%.1f MB", b / 1e6);
  if (b >= 1e3) return absl::StrFormat("%.1f kB", b / 1e3);
  return absl::StrFormat("%d B", bytes);
}

std::string ProgressText(const std::string& what, int64_t done_bytes, int64_t total_bytes,
                         double elapsed_s) {
  const double rate = elapsed_s > 0 ? static_cast<double>(done_bytes) / elapsed_s : 0;
  const double percent =
      total_bytes > 0 ? 100.0 * static_cast<double>(done_bytes) / static_cast<double>(total_bytes)
                      : 100.0;
  std::string text =
      absl::StrFormat("%s %s of %s (%.0f %%), %.2f GB/s", what, BytesText(done_bytes),
                      BytesText(total_bytes), percent, rate / 1e9);
  if (done_bytes >= total_bytes) return text + ", took " + DurationText(elapsed_s);
  if (rate <= 0) return text;
  return text + ", " + DurationText(static_cast<double>(total_bytes - done_bytes) / rate) + " left";
}

ProgressPrinter::ProgressPrinter(std::string what)
    : what_(std::move(what)), is_terminal_(isatty(STDERR_FILENO) == 1), start_(Clock::now()) {
  next_print_ = start_ + (is_terminal_ ? std::chrono::milliseconds(300) : std::chrono::seconds(10));
}

ProgressPrinter::~ProgressPrinter() {
  if (total_bytes_ == 0) return;
  Print(done_bytes_, total_bytes_, std::chrono::duration<double>(Clock::now() - start_).count());
  if (line_open_) std::fputc('\n', stderr);
}

void ProgressPrinter::Update(int64_t done_bytes, int64_t total_bytes) {
  const std::lock_guard lock(mutex_);
  done_bytes_ = std::max(done_bytes_, done_bytes);  // workers may report out of order
  total_bytes_ = total_bytes;
  const auto now = Clock::now();
  if (now < next_print_) return;
  next_print_ = now + (is_terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(10));
  Print(done_bytes_, total_bytes_, std::chrono::duration<double>(now - start_).count());
}

ProgressFn ProgressPrinter::Fn() {
  return [this](int64_t done_bytes, int64_t total_bytes) { Update(done_bytes, total_bytes); };
}

void ProgressPrinter::Print(int64_t done_bytes, int64_t total_bytes, double elapsed_s) {
  const std::string text = ProgressText(what_, done_bytes, total_bytes, elapsed_s);
  // \r and "erase to the end of the line" redraw in place.
  std::fprintf(stderr, is_terminal_ ? "\r%s\033[K" : "%s\n", text.c_str());
  std::fflush(stderr);
  line_open_ = is_terminal_;
}

}  // namespace tandem
