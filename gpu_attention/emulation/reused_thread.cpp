#include "gpu_attention/emulation/reused_thread.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace tandem::emulated {

struct ReusedThread::Worker {
  std::mutex mutex;
  std::condition_variable changed;
  std::function<void()> run;  // empty: idle
  bool stopping = false;
  std::thread thread{[this] { Loop(); }};

  ~Worker() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    thread.join();
  }
  void Loop() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stopping || run; });
      if (!run) return;
      lock.unlock();
      run();
      lock.lock();
      run = nullptr;
      changed.notify_all();
    }
  }
};

namespace {
struct Idle {
  std::mutex mutex;
  std::vector<std::unique_ptr<ReusedThread::Worker>> workers;
};
Idle& TheIdle() {
  static Idle idle;
  return idle;
}
}  // namespace

ReusedThread::ReusedThread(std::function<void()> run) {
  {
    Idle& idle = TheIdle();
    const std::lock_guard lock(idle.mutex);
    if (!idle.workers.empty()) {
      worker_ = std::move(idle.workers.back());
      idle.workers.pop_back();
    }
  }
  if (worker_ == nullptr) worker_ = std::make_unique<Worker>();
  const std::lock_guard lock(worker_->mutex);
  worker_->run = std::move(run);
  worker_->changed.notify_all();
}

ReusedThread::~ReusedThread() {
  {
    std::unique_lock lock(worker_->mutex);
    worker_->changed.wait(lock, [this] { return !worker_->run; });
  }
  const std::lock_guard lock(TheIdle().mutex);
  TheIdle().workers.push_back(std::move(worker_));
}

}  // namespace tandem::emulated
