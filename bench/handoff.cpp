#include "bench/handoff.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "bench/moe_bench.h"
#include "core/worker_team.h"

#ifdef TANDEM_HAVE_TBB
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

// Microseconds of every call of `work`, sorted.
template <class Work>
std::vector<double> Time(int calls, Work work) {
  std::vector<double> us;
  for (int i = 0; i < calls; ++i) {
    const auto begin = Clock::now();
    work();
    us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
  }
  std::sort(us.begin(), us.end());
  return us;
}

double Median(const std::vector<double>& sorted) { return sorted[sorted.size() / 2]; }

// Long enough for helpers that spin for 50 us to park.
double TimeParked(WorkerTeam& team) {
  std::vector<double> us;
  for (int i = 0; i < 101; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    us.push_back(Time(1, [&] { team.Run([](int) {}); }).front());
  }
  std::sort(us.begin(), us.end());
  return Median(us);
}

double TimeTbb([[maybe_unused]] int workers) {
#ifdef TANDEM_HAVE_TBB
  tbb::task_arena arena(workers);
  return arena.execute([&] {
    return Median(Time(20000, [&] {
      tbb::parallel_for(
          0, workers, [](int) {}, tbb::static_partitioner());
    }));
  });
#else
  return 0;
#endif
}

}  // namespace

absl::StatusOr<HandoffResult> MeasureHandoff(const HandoffOptions& options) {
  HandoffResult result;
  // First: oneTBB counts the processors of the calling thread, which is then pinned to one.
  result.tbb_us = TimeTbb(options.threads > 0 ? options.threads : PhysicalCores());
  {
    WorkerTeam team({.workers = options.threads});
    team.PinCaller();
    result.team = team.Describe();
    result.parked_us = TimeParked(team);
    const WorkerTeam::Awake awake(team);
    const std::vector<double> empty = Time(20000, [&] { team.Run([](int) {}); });
    result.fork_join_us = Median(empty);
    result.fork_join_p99_us = empty[empty.size() * 99 / 100];
    result.empty_layer_us = Median(Time(20000, [&] {
      team.Run([&](int worker) {
        team.NodeBarrier(worker);
        team.NodeBarrier(worker);
      });
    }));
  }
  if (!options.layer) return result;
  MoeBenchOptions moe;
  TANDEM_ASSIGN_OR_RETURN(moe.shape, FindMoeBenchShape("k2.6"));
  moe.shape.experts = 96;
  moe.threads = options.threads;
  TANDEM_ASSIGN_OR_RETURN(const std::vector<MoeBenchResult> layers, RunMoeBench(moe));
  result.layer_us = layers.front().median_us;
  return result;
}

std::string HandoffResult::ToText() const {
  std::string text = absl::StrFormat(
      "team              %s\n"
      "empty job         %.2f us (99th percentile %.2f us)\n"
      "empty layer       %.2f us (one job, two barriers)\n"
      "after parking     %.1f us\n",
      team, fork_join_us, fork_join_p99_us, empty_layer_us, parked_us);
  if (tbb_us > 0) absl::StrAppendFormat(&text, "oneTBB, empty     %.2f us\n", tbb_us);
  if (layer_us > 0) {
    absl::StrAppendFormat(&text, "K2.6 layer        %.0f us for one token: %.2f %% is dispatch\n",
                          layer_us, 100 * fraction_of_layer());
  }
  return text;
}

std::string HandoffResult::ToJson() const {
  return nlohmann::ordered_json{{"team", team},
                                {"fork_join_us", fork_join_us},
                                {"fork_join_p99_us", fork_join_p99_us},
                                {"empty_layer_us", empty_layer_us},
                                {"parked_us", parked_us},
                                {"tbb_us", tbb_us},
                                {"layer_us", layer_us},
                                {"fraction_of_layer", fraction_of_layer()}}
      .dump();
}

}  // namespace tandem
