#include "core/worker_team.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/spin.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

bool PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

// `workers` dealt to the nodes so that each core has as many as any other, within one.
std::vector<int> WorkersPerNode(const CpuTopology& topology, int workers) {
  const int cores = topology.cores();
  std::vector<int> counts;
  int cores_before = 0, given = 0;
  for (const CpuNode& node : topology.nodes) {
    cores_before += static_cast<int>(node.cpus.size());
    const int until_here = static_cast<int>((int64_t{workers} * cores_before + cores / 2) / cores);
    counts.push_back(until_here - given);
    given = until_here;
  }
  return counts;
}

}  // namespace

int PhysicalCores() { return DetectTopology().cores(); }

WorkerTeam::WorkerTeam(WorkerTeamOptions options) : options_(std::move(options)) {
  const CpuTopology& topology = options_.topology ? *options_.topology : DetectTopology();
  AssignSeats(topology, options_.workers > 0 ? options_.workers : topology.cores());
  mailboxes_ = std::make_unique<Mailbox[]>(size());
  gates_ = std::make_unique<NodeGate[]>(nodes());
  for (int worker = 1; worker < size(); ++worker)
    helpers_.emplace_back([this, worker] { HelperLoop(worker, cpus_[worker]); });
  Run([](int) {});  // every helper has tried to pin itself
  if (unpinned_ > 0) {
    warnings_.push_back(absl::StrCat(unpinned_.load(),
                                     " worker threads could not be pinned to their cores and may "
                                     "be moved away from their memory"));
  }
}

void WorkerTeam::AssignSeats(const CpuTopology& topology, int workers) {
  const int cores = topology.cores();
  // Two threads pinned to one core would wait for each other: pin only when each gets its own.
  const bool pin = options_.pin && !topology.synthetic && workers <= cores;
  const std::vector<int> counts = WorkersPerNode(topology, workers);
  for (size_t n = 0; n < counts.size(); ++n) {
    if (counts[n] == 0) continue;
    const CpuNode& node = topology.nodes[n];
    for (int rank = 0; rank < counts[n]; ++rank) {
      seats_.push_back({nodes(), rank});
      cpus_.push_back(pin ? node.cpus[rank] : -1);
    }
    node_sizes_.push_back(counts[n]);
    node_ids_.push_back(topology.synthetic ? NumaNode{} : node.id);
  }
  if (workers > PhysicalCores()) {
    spins_before_yield_ = 16;  // the one waited for may need this core
    warnings_.push_back(
        absl::StrFormat("%d worker threads share %d physical cores: they wait for one another",
                        workers, PhysicalCores()));
  }
  if (const double quota = CpuQuota(); quota > 0 && quota < workers) {
    warnings_.push_back(absl::StrFormat(
        "the container grants %.1f processors to %d worker threads: they will be stopped often",
        quota, workers));
  }
}

WorkerTeam::~WorkerTeam() {
  stopping_.store(true, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

std::string WorkerTeam::Describe() const {
  const bool pinned = cpus_.back() >= 0 && unpinned_ == 0;
  return absl::StrCat(size(), size() == 1 ? " worker on " : " workers on ", nodes(),
                      nodes() == 1 ? " node, " : " nodes, ", pinned ? "pinned" : "not pinned");
}

void WorkerTeam::PinCaller() {
  if (cpus_[0] >= 0) PinTo(cpus_[0]);
}

void WorkerTeam::RunErased(ErasedJob job, void* context) {
  if (size() == 1) return job(context, 0);
  job_ = job;
  context_ = context;
  const uint32_t epoch = epoch_.fetch_add(1, std::memory_order_release) + 1;
  epoch_.notify_all();
  job(context, 0);
  for (int worker = 1; worker < size(); ++worker) {
    const Mailbox& mailbox = mailboxes_[worker];
    SpinUntil(spins_before_yield_,
              [&] { return mailbox.finished.load(std::memory_order_acquire) == epoch; });
  }
}

void WorkerTeam::NodeBarrier(int worker) {
  const Seat& own = seats_[worker];
  const int size = node_sizes_[own.node];
  if (size == 1) return;
  Mailbox& mailbox = mailboxes_[worker];
  NodeGate& gate = gates_[own.node];
  const uint32_t count = ++mailbox.barriers;
  if (own.rank != 0) {
    mailbox.arrived.store(count, std::memory_order_release);
    SpinUntil(spins_before_yield_,
              [&] { return gate.opened.load(std::memory_order_acquire) == count; });
    return;
  }
  for (int other = worker + 1; other < worker + size; ++other) {
    const Mailbox& theirs = mailboxes_[other];
    SpinUntil(spins_before_yield_,
              [&] { return theirs.arrived.load(std::memory_order_acquire) == count; });
  }
  gate.opened.store(count, std::memory_order_release);
}

uint32_t WorkerTeam::AwaitNewEpoch(uint32_t seen) {
  const auto start = Clock::now();
  std::chrono::microseconds limit;
  do {
    for (int i = 0; i < 64; ++i) {
      const uint32_t now = epoch_.load(std::memory_order_acquire);
      if (now != seen) return now;
      CpuPause();
    }
    const bool awake = awake_.load(std::memory_order_relaxed) > 0;
    limit = std::chrono::microseconds(awake ? options_.awake_us : options_.spin_us);
  } while (Clock::now() - start < limit);
  uint32_t now;
  while ((now = epoch_.load(std::memory_order_acquire)) == seen)
    epoch_.wait(seen, std::memory_order_acquire);
  return now;
}

void WorkerTeam::HelperLoop(int worker, int cpu) {
  if (cpu >= 0 && !PinTo(cpu)) unpinned_.fetch_add(1);
  for (uint32_t seen = 0;;) {
    seen = AwaitNewEpoch(seen);
    if (stopping_.load(std::memory_order_acquire)) return;
    job_(context_, worker);
    mailboxes_[worker].finished.store(seen, std::memory_order_release);
  }
}

}  // namespace tandem
