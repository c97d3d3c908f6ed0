#include "tools/batch_display.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/progress.h"
#include "service/batch/batch_report.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr int kBarWidth = 24;
constexpr auto kSampleEvery = 200ms;
constexpr int kSamplesPerLine = 25;  // where output is no terminal

}  // namespace

std::string ProgressLine(const BatchProgress& p, int bar_width) {
  const double share = p.requests > 0 ? static_cast<double>(p.done) / p.requests : 1;
  std::string line;
  if (bar_width > 0) {
    const auto full = static_cast<size_t>(share * bar_width);
    absl::StrAppend(&line, "[", std::string(full, '#'), std::string(bar_width - full, '-'), "] ");
  }
  absl::StrAppendFormat(&line, "%.0f %% %d/%d", 100 * share, p.done, p.requests);
  if (p.failed > 0) absl::StrAppendFormat(&line, ", %d failed", p.failed);
  const double tokens = static_cast<double>(p.prompt_tokens - p.cached_tokens) +
                        static_cast<double>(p.completion_tokens);
  if (p.running_s > 0) absl::StrAppendFormat(&line, ", %.1f tok/s", tokens / p.running_s);
  absl::StrAppendFormat(&line, ", %d in flight", p.in_flight);
  if (p.state != BatchState::kRunning) return absl::StrCat(line, ", ", Name(p.state));
  if (p.left_s >= 0) absl::StrAppend(&line, ", ", DurationText(p.left_s), " left");
  return line;
}

BatchDisplay::BatchDisplay(const BatchJob& job, BatchMeter& meter, As as)
    : job_(job), meter_(meter), as_(as), is_terminal_(isatty(STDERR_FILENO) == 1), thread_([this] {
        Run();
      }) {}

void BatchDisplay::Stop() {
  {
    std::lock_guard lock(mutex_);
    if (stop_) return;
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  Show(/*last=*/true);
}

void BatchDisplay::Run() {
  std::unique_lock lock(mutex_);
  for (int sample = 1; !changed_.wait_for(lock, kSampleEvery, [this] { return stop_; }); ++sample) {
    meter_.Sample();
    const bool redraws = as_ == As::kText && is_terminal_;
    if (redraws || sample % kSamplesPerLine == 0) Show(/*last=*/false);
  }
}

void BatchDisplay::Show(bool last) {
  if (as_ == As::kNothing) return;
  const BatchProgress progress = job_.progress();
  if (as_ == As::kJson) {
    std::printf("%s\n", ProgressJson(progress).c_str());
    std::fflush(stdout);
    return;
  }
  const std::string line = ProgressLine(progress, is_terminal_ ? kBarWidth : 0);
  if (line == shown_ && !last) return;
  shown_ = line;
  // \r and "erase to the end of the line" redraw in place.
  std::fprintf(stderr, is_terminal_ ? "\r%s\033[K%s" : "%s%s", line.c_str(),
               is_terminal_ && !last ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace tandem
