#include "core/worker_team.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// First hyper-thread of every core in this process's affinity mask.
std::vector<int> CoreCpus() {
  std::vector<int> cpus;
  hwloc_topology_t topology;
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  if (hwloc_topology_init(&topology) == 0 && hwloc_topology_load(topology) == 0) {
    const int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    for (int i = 0; i < cores; ++i) {
      hwloc_obj_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, i);
      const int cpu = hwloc_bitmap_first(core->cpuset);
      if (cpu >= 0 && CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
    }
    hwloc_topology_destroy(topology);
  }
  if (cpus.empty()) cpus.push_back(sched_getcpu());
  return cpus;
}

const std::vector<int>& CachedCoreCpus() {
  static const std::vector<int> cpus = CoreCpus();
  return cpus;
}

void PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

int PhysicalCores() { return static_cast<int>(CachedCoreCpus().size()); }

WorkerTeam::WorkerTeam(WorkerTeamOptions options)
    : size_(options.workers > 0 ? options.workers : PhysicalCores()), spin_us_(options.spin_us) {
  const std::vector<int>& cpus = CachedCoreCpus();
  // Two threads pinned to one core would wait for each other: pin only when each gets its own.
  const bool pin = options.pin && size_ <= static_cast<int>(cpus.size());
  for (int worker = 1; worker < size_; ++worker)
    helpers_.emplace_back(
        [this, worker, cpu = pin ? cpus[worker] : -1] { HelperLoop(worker, cpu); });
}

WorkerTeam::~WorkerTeam() {
  stopping_.store(true, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void WorkerTeam::RunErased(ErasedJob job, void* context) {
  if (size_ == 1) return job(context, 0);
  job_ = job;
  context_ = context;
  running_.store(size_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  job(context, 0);
  // The others finish within the same job; yield now and then in case a core is shared.
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins % 4096 == 4095) std::this_thread::yield();
    Pause();
  }
}

uint32_t WorkerTeam::AwaitNewEpoch(uint32_t seen) {
  const auto deadline = Clock::now() + std::chrono::microseconds(spin_us_);
  do {
    for (int i = 0; i < 64; ++i) {
      const uint32_t now = epoch_.load(std::memory_order_acquire);
      if (now != seen) return now;
      Pause();
    }
  } while (Clock::now() < deadline);
  uint32_t now;
  while ((now = epoch_.load(std::memory_order_acquire)) == seen)
    epoch_.wait(seen, std::memory_order_acquire);
  return now;
}

void WorkerTeam::HelperLoop(int worker, int cpu) {
  if (cpu >= 0) PinTo(cpu);
  for (uint32_t seen = 0;;) {
    seen = AwaitNewEpoch(seen);
    if (stopping_.load(std::memory_order_acquire)) return;
    job_(context_, worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tandem
