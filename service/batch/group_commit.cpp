#include "service/batch/group_commit.h"

#include <chrono>
#include <utility>

namespace tandem {
namespace {

constexpr std::chrono::milliseconds kInterval(250);
constexpr int64_t kMostGroupBytes = 4 << 20;

}  // namespace

GroupCommit::GroupCommit(ResultStore& store, Callbacks callbacks)
    : store_(store), callbacks_(std::move(callbacks)), thread_([this] { Run(); }) {}

GroupCommit::~GroupCommit() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void GroupCommit::Add(Result result) {
  std::lock_guard lock(mutex_);
  if (!error_.ok()) return;
  waiting_bytes_ += static_cast<int64_t>(result.line.text.size());
  waiting_.push_back(std::move(result));
  if (waiting_.size() == 1 || waiting_bytes_ >= kMostGroupBytes) changed_.notify_all();
}

absl::Status GroupCommit::Flush() {
  std::unique_lock lock(mutex_);
  flush_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !error_.ok() || (waiting_.empty() && !busy_); });
  flush_ = false;
  return error_;
}

int64_t GroupCommit::waiting_bytes() const {
  std::lock_guard lock(mutex_);
  return waiting_bytes_;
}

std::vector<Result> GroupCommit::NextGroup() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
  changed_.wait_for(lock, kInterval,
                    [this] { return closed_ || flush_ || waiting_bytes_ >= kMostGroupBytes; });
  busy_ = !waiting_.empty();
  return std::exchange(waiting_, {});
}

void GroupCommit::Run() {
  for (std::vector<Result> group = NextGroup(); !group.empty(); group = NextGroup()) {
    absl::Status status = store_.Append(group);
    int64_t bytes = 0;
    for (const Result& result : group) bytes += static_cast<int64_t>(result.line.text.size());
    if (status.ok()) callbacks_.on_commit(group);
    {
      std::lock_guard lock(mutex_);
      busy_ = false;
      waiting_bytes_ -= bytes;
      if (!status.ok()) {
        error_ = status;
        waiting_.clear();
        waiting_bytes_ = 0;
      }
    }
    changed_.notify_all();
    if (!status.ok()) callbacks_.on_error(status);
  }
}

}  // namespace tandem
