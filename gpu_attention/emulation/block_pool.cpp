#include "gpu_attention/emulation/block_pool.h"

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace tandem::emulated {
namespace {

struct Job {
  const std::function<void(int64_t)>& run;
  const int64_t count;
  std::atomic<int64_t> next = 0;
  int helpers = 0;  // under the pool's mutex

  void Work() {
    for (int64_t i; (i = next.fetch_add(1)) < count;) run(i);
  }
};

class Pool {
 public:
  Pool() {
    const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    for (unsigned i = 1; i < cores; ++i) threads_.emplace_back([this] { Help(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    new_job_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Run(Job& job) {
    if (job.count > 1 && !threads_.empty()) {
      std::unique_lock lock(mutex_);
      const auto place = jobs_.insert(jobs_.end(), &job);
      lock.unlock();
      new_job_.notify_all();
      job.Work();
      lock.lock();
      jobs_.erase(place);
      helper_left_.wait(lock, [&] { return job.helpers == 0; });
    } else {
      job.Work();
    }
  }

 private:
  void Help() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      Job* job = nullptr;
      for (Job* open : jobs_) {
        if (open->next.load() < open->count) job = open;
      }
      if (job == nullptr) {
        new_job_.wait(lock);
        continue;
      }
      ++job->helpers;
      lock.unlock();
      job->Work();
      lock.lock();
      if (--job->helpers == 0) helper_left_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable new_job_, helper_left_;
  std::list<Job*> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

void RunShared(int64_t count, const std::function<void(int64_t)>& run) {
  static Pool pool;
  Job job{run, count};
  pool.Run(job);
}

}  // namespace tandem::emulated
