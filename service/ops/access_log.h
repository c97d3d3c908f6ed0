// The access log: a line of JSON for every request, at its end. Never prompts or answers.
//
//   {"time":"2026-01-31T12:00:00.123Z","id":"req-…","transport":"http","method":"POST
//   /v1/messages",
//    "caller":"alice","status":200,"total_s":1.2,"prompt_tokens":…, …}
//
// Lines are written by a thread of its own; nobody waits for the disk. If it is so slow, or so
// full, that 16,384 lines wait, further ones are left out, and a line {"time":…,"lost":N} says how
// many. A file may be renamed (logrotate): the next line goes to a new one of the old name.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"
#include "service/access/request_log.h"

namespace tandem {

// Thread-safe.
class AccessLog final : public RequestObserver {
 public:
  // `path` "-": standard output. Error: what keeps the file from being appended to.
  static absl::StatusOr<std::unique_ptr<AccessLog>> Open(const std::string& path);
  ~AccessLog() override;  // writes what is left

  void Ended(const RequestLog& log) override;

 private:
  struct Line {
    RequestLog log;
    int64_t unix_ms;
  };
  explicit AccessLog(std::string path) : path_(std::move(path)) {}
  absl::Status OpenFile();
  void Run();
  void Write(const std::string& lines);
  bool Renamed() const;

  const std::string path_;
  int file_ = -1;
  bool failing_ = false;  // so that it is said once
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Line> waiting_;
  int64_t lost_ = 0;
  bool closing_ = false;
  std::thread thread_;
};

// The line of a request that ended then, without a newline.
std::string AccessLine(const RequestLog& log, int64_t unix_ms);

}  // namespace tandem
