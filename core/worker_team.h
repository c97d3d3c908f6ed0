// A fixed team of threads that runs fork/join jobs with microsecond dispatch, in one group per NUMA
// node.
//
// The calling thread is worker 0; size() - 1 helper threads are pinned to physical cores. Workers
// are numbered node by node. Between jobs helpers spin for a bounded time and then park, so an idle
// engine costs nothing; while an Awake scope is alive they spin longer.
// One caller at a time: Run() is not reentrant and must not be called from inside a job.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "core/topology.h"

namespace tandem {

struct WorkerTeamOptions {
  int workers = 0;      // 0: one per physical core this process may use
  bool pin = true;      // bind each helper to a physical core
  int spin_us = 50;     // how long a helper spins for the next job before it parks
  int awake_us = 2000;  // the same while an Awake scope is alive
  std::optional<CpuTopology> topology = {};  // instead of this machine's
};

// Physical cores (not hyper-threads) that this process may run on, at least 1.
int PhysicalCores();

class WorkerTeam {
 public:
  explicit WorkerTeam(WorkerTeamOptions options = {});
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int size() const { return static_cast<int>(seats_.size()); }

  // Where a worker sits: the rank-th of its node.
  struct Seat {
    int node = 0;  // index, below nodes()
    int rank = 0;
  };
  const Seat& seat(int worker) const { return seats_[worker]; }
  int nodes() const { return static_cast<int>(node_sizes_.size()); }
  int node_size(int node) const { return node_sizes_[node]; }
  // The system's number of a node, for binding memory; kAnyNode where there is nothing to bind.
  NumaNode node_id(int node) const { return node_ids_[node]; }

  // What makes this team slow, one sentence each: more workers than cores, a CPU quota, threads
  // that could not be pinned. Empty if all is well.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // "2 workers on 1 node, pinned"
  std::string Describe() const;

  // Pins the calling thread, worker 0, to the core kept for it.
  void PinCaller();

  // While one is alive, helpers wait for the next job by spinning up to awake_us.
  class Awake {
   public:
    explicit Awake(WorkerTeam& team) : team_(team) { team_.awake_.fetch_add(1); }
    ~Awake() { team_.awake_.fetch_sub(1); }
    Awake(const Awake&) = delete;
    Awake& operator=(const Awake&) = delete;

   private:
    WorkerTeam& team_;
  };

  // Calls job(worker) once on every worker, worker in [0, size()), and returns when all are done.
  template <class Job>
  void Run(Job&& job) {
    RunErased([](void* context,
                 int worker) { (*static_cast<std::remove_reference_t<Job>*>(context))(worker); },
              const_cast<void*>(static_cast<const void*>(&job)));
  }

  // Inside a job: returns when every worker of this worker's node has called it as often.
  void NodeBarrier(int worker);
  // How patiently to wait for another worker inside a job; see core/spin.h.
  int spins_before_yield() const { return spins_before_yield_; }

  // Calls body(begin, end, worker) over pieces of [0, n) of at most `grain` items, handed out
  // dynamically. Which worker gets a piece varies from run to run: a result must not depend on it.
  template <class Body>
  void ParallelFor(int64_t n, int64_t grain, Body&& body) {
    if (n <= 0) return;
    if (n <= grain || size() == 1) {
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
  // One cache line a worker: many cores counting in one line would queue for it.
  struct alignas(64) Mailbox {
    std::atomic<uint32_t> finished{0};  // the last job this worker finished
    std::atomic<uint32_t> arrived{0};   // node barriers this worker came to
    uint32_t barriers = 0;              // the same, for the worker itself
  };
  struct alignas(64) NodeGate {
    std::atomic<uint32_t> opened{0};  // node barriers that everybody came to
  };

  void AssignSeats(const CpuTopology& topology, int workers);
  void RunErased(ErasedJob job, void* context);
  void HelperLoop(int worker, int cpu);
  uint32_t AwaitNewEpoch(uint32_t seen);

  WorkerTeamOptions options_;
  std::vector<Seat> seats_;
  std::vector<int> node_sizes_;
  std::vector<NumaNode> node_ids_;
  std::vector<int> cpus_;  // by worker; -1: not pinned
  std::vector<std::string> warnings_;
  ErasedJob job_ = nullptr;
  void* context_ = nullptr;
  std::unique_ptr<Mailbox[]> mailboxes_;
  std::unique_ptr<NodeGate[]> gates_;
  int spins_before_yield_ = 4096;
  std::atomic<int> awake_{0};
  std::atomic<int> unpinned_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<bool> stopping_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace tandem
