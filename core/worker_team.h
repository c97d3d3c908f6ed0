// A fixed team of threads that runs fork/join jobs with microsecond dispatch.
//
// The calling thread is worker 0; size() - 1 helper threads are pinned to physical cores. Between
// jobs helpers spin for a bounded time and then park, so an idle engine costs nothing.
// One caller at a time: Run() is not reentrant and must not be called from inside a job.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace tandem {

struct WorkerTeamOptions {
  int workers = 0;   // 0: one per physical core this process may use
  bool pin = true;   // bind helper i to the i-th physical core
  int spin_us = 50;  // how long a helper spins for the next job before it parks
};

// Physical cores (not hyper-threads) that this process may run on, at least 1.
int PhysicalCores();

class WorkerTeam {
 public:
  explicit WorkerTeam(WorkerTeamOptions options = {});
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int size() const { return size_; }

  // Calls job(worker) once on every worker, worker in [0, size()), and returns when all are done.
  template <class Job>
  void Run(Job&& job) {
    RunErased([](void* context,
                 int worker) { (*static_cast<std::remove_reference_t<Job>*>(context))(worker); },
              const_cast<void*>(static_cast<const void*>(&job)));
  }

  // Calls body(begin, end, worker) over pieces of [0, n) of at most `grain` items, handed out
  // dynamically. Which worker gets a piece varies from run to run: a result must not depend on it.
  template <class Body>
  void ParallelFor(int64_t n, int64_t grain, Body&& body) {
    if (n <= 0) return;
    if (n <= grain || size_ == 1) {
      body(int64_t{0}, n, 0);
      return;
    }
    std::atomic<int64_t> next{0};
    Run([&](int worker) {
      for (;;) {
        const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= n) return;
        body(begin, begin + grain < n ? begin + grain : n, worker);
      }
    });
  }

 private:
  using ErasedJob = void (*)(void* context, int worker);
  void RunErased(ErasedJob job, void* context);
  void HelperLoop(int worker, int cpu);
  uint32_t AwaitNewEpoch(uint32_t seen);

  int size_;
  int spin_us_;
  ErasedJob job_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int> running_{0};
  alignas(64) std::atomic<bool> stopping_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace tandem
