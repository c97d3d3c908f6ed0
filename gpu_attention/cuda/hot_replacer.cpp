#include "gpu_attention/cuda/hot_replacer.h"

#include <chrono>
#include <utility>

namespace tandem::TANDEM_GPU {

absl::StatusOr<std::unique_ptr<HotReplacer>> HotReplacer::Create(HotPool& pool) {
  TANDEM_ASSIGN_OR_RETURN(Stream stream, Stream::Create());
  std::unique_ptr<HotReplacer> replacer(new HotReplacer(pool, std::move(stream)));
  replacer->thread_ = std::thread([r = replacer.get()] { r->Run(); });
  return replacer;
}

HotReplacer::~HotReplacer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

absl::Status HotReplacer::Begin(const HotReplacement& what, const ExpertShards& bytes,
                                const std::vector<std::span<std::byte>>& read_back) {
  Job job;
  job.what = what;
  job.bytes = bytes;
  job.read_back = read_back;
  TANDEM_ASSIGN_OR_RETURN(job.slot, pool_.TakeSpare(what));
  job.to = pool_.spare(job.slot);
  job.from = pool_.slot(pool_.slot_of(what.layer, what.out));
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  work_.notify_one();
  return absl::OkStatus();
}

void HotReplacer::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    Copy(job);
    lock.lock();
    copied_.push_back(std::move(job));
  }
}

void HotReplacer::Copy(Job& job) {
  const auto begin = std::chrono::steady_clock::now();
  SendExpert(pool_.layout(), job.bytes, job.to, stream_);
  if (!job.read_back.empty()) FetchExpert(pool_.layout(), job.from, job.read_back, stream_);
  job.status = stream_.Synchronize();
  job.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

bool HotReplacer::any_copied() const {
  const std::lock_guard lock(mutex_);
  return !copied_.empty();
}

std::vector<FinishedReplacement> HotReplacer::Finish(Stream& stream) {
  std::vector<Job> copied;
  {
    const std::lock_guard lock(mutex_);
    copied.swap(copied_);
  }
  std::vector<FinishedReplacement> finished;
  for (Job& job : copied) {
    if (job.status.ok()) job.status = pool_.TurnOver(job.what, job.slot, stream);
    if (!job.status.ok()) pool_.GiveSpareBack(job.slot);
    finished.push_back({job.what, job.status, job.seconds});
  }
  return finished;
}

}  // namespace tandem::TANDEM_GPU
