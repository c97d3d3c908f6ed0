#include "service/ops/access_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/log.h"

namespace tandem {
namespace {

constexpr size_t kMaxWaiting = 16384;
constexpr size_t kMaxErrorBytes = 1024;

int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string TimeText(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3SZ", absl::FromUnixMillis(unix_ms),
                          absl::UTCTimeZone());
}

double Rounded(double seconds) { return std::round(seconds * 1e6) / 1e6; }

std::string Dump(const nlohmann::ordered_json& line) {
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void AddGenerated(const RequestLog& log, nlohmann::ordered_json& line) {
  const Usage& usage = log.usage;
  line["prompt_tokens"] = usage.prompt_tokens;
  line["cached_tokens"] = usage.cached_tokens;
  line["completion_tokens"] = usage.completion_tokens;
  line["queue_s"] = Rounded(usage.queue_s);
  line["prefill_s"] = Rounded(usage.prefill_s);
  line["decode_s"] = Rounded(usage.decode_s);
  line["first_token_s"] = Rounded(log.first_token_s);
  line["finish"] = log.finish;
  if (!log.divergence.empty()) line["divergence"] = log.divergence;
}

}  // namespace

std::string AccessLine(const RequestLog& log, int64_t unix_ms) {
  nlohmann::ordered_json line = {{"time", TimeText(unix_ms)},
                                 {"id", log.id},
                                 {"transport", log.transport},
                                 {"method", log.method},
                                 {"caller", log.caller}};
  if (!log.task.empty()) line["task"] = log.task;
  if (!log.agent.empty()) line["agent"] = log.agent;
  line["status"] = log.status;
  line["total_s"] = Rounded(log.total_s);
  if (log.generated) AddGenerated(log, line);
  if (!log.error.empty()) line["error"] = log.error.substr(0, kMaxErrorBytes);
  return Dump(line);
}

absl::StatusOr<std::unique_ptr<AccessLog>> AccessLog::Open(const std::string& path) {
  std::unique_ptr<AccessLog> log(new AccessLog(path));
  TANDEM_RETURN_IF_ERROR(log->OpenFile());
  log->thread_ = std::thread([raw = log.get()] { raw->Run(); });
  return log;
}

AccessLog::~AccessLog() {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  if (file_ > STDERR_FILENO) close(file_);
}

absl::Status AccessLog::OpenFile() {
  if (path_ == "-") {
    file_ = STDOUT_FILENO;
    return absl::OkStatus();
  }
  // Names of keys and tasks are nobody else's business.
  const int opened = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (opened < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("access log ", path_, ": cannot be written"));
  }
  if (file_ >= 0) close(file_);
  file_ = opened;
  return absl::OkStatus();
}

void AccessLog::Ended(const RequestLog& log) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) {
      ++lost_;
      return;
    }
    waiting_.push_back({log, UnixMs()});
  }
  wake_.notify_one();
}

void AccessLog::Run() {
  bool closing = false;
  while (!closing) {
    std::vector<Line> lines;
    int64_t lost = 0;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      lines.swap(waiting_);
      lost = std::exchange(lost_, 0);
      closing = closing_;
    }
    std::string text;
    for (const Line& line : lines) text += AccessLine(line.log, line.unix_ms) + "\n";
    if (lost > 0) text += Dump({{"time", TimeText(UnixMs())}, {"lost", lost}}) + "\n";
    Write(text);
  }
}

// Whether the file of that name is another one, or none.
bool AccessLog::Renamed() const {
  struct stat ours = {}, named = {};
  if (path_ == "-" || fstat(file_, &ours) != 0) return false;
  return stat(path_.c_str(), &named) != 0 || named.st_ino != ours.st_ino ||
         named.st_dev != ours.st_dev;
}

void AccessLog::Write(const std::string& lines) {
  absl::Status status;
  if (Renamed()) status = OpenFile();  // if that fails, on with the old one
  for (size_t done = 0; done < lines.size();) {
    const ssize_t n = write(file_, lines.data() + done, lines.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      status = absl::ErrnoToStatus(errno, absl::StrCat("access log ", path_, ": lines are lost"));
      break;
    }
    done += static_cast<size_t>(n);
  }
  if (!status.ok() && !failing_) LogWarning("{}", std::string(status.message()));
  failing_ = !status.ok();
}

}  // namespace tandem
