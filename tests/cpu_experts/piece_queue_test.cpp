#include "cpu_experts/piece_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "core/spin.h"
#include "core/worker_team.h"

namespace tandem {
namespace {

// Every step of every item once, and in order.
TEST(PieceQueue, StepsOfAnItemRunInOrderWhoeverHasThem) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const int workers = 1 + static_cast<int>(random() % 5);
    const int64_t items = 1 + static_cast<int64_t>(random() % 40);
    const int64_t steps = 1 + static_cast<int64_t>(random() % 30);
    WorkerTeam team({.workers = workers, .pin = false});
    PieceQueue queue;
    queue.Reset(items * steps, workers);
    const auto progress = std::make_unique<std::atomic<int64_t>[]>(items);
    std::vector<int64_t> reached(items, 0);  // by whoever has the item; ordered by `progress`
    std::atomic<int> wrong{0};
    auto advance = [&](int64_t item, int64_t begin, int64_t end) {
      if (reached[item] != begin || begin >= end) ++wrong;
      reached[item] = end;
    };
    team.Run([&](int worker) {
      Piece piece = queue.First(worker);
      do {
        ForEachPart(
            piece, steps,
            [&](int64_t first, int64_t last) {
              for (; first < last; ++first) advance(first, 0, steps);
            },
            advance,
            [&](int64_t item, int64_t step) {
              SpinUntil(team.spins_before_yield(), [&] { return progress[item] >= step; });
            },
            [&](int64_t item, int64_t step) { progress[item] = step; });
      } while (queue.Next(piece));
    });
    EXPECT_EQ(wrong.load(), 0);
    for (int64_t item = 0; item < items; ++item)
      EXPECT_EQ(reached[item], steps) << "item " << item << " of " << items << ", " << workers
                                      << " workers, " << steps << " steps";
  }
}

// Work over (workers x the time of the last one), where a unit takes a unit of time.
double Efficiency(int64_t units, int workers) {
  PieceQueue queue;
  queue.Reset(units, workers);
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> free_at;
  for (int rank = 0; rank < workers; ++rank) {
    const Piece first = queue.First(rank);
    free_at.push(first.end - first.begin);
  }
  int64_t last = free_at.top();
  for (Piece piece; queue.Next(piece);) {
    const int64_t now = free_at.top() + piece.end - piece.begin;
    free_at.pop();
    free_at.push(now);
  }
  for (; !free_at.empty(); free_at.pop()) last = free_at.top();
  return static_cast<double>(units) / static_cast<double>(last * workers);
}

// One K2.6 layer, one token: gate and up are 8 experts x 64 column groups, whose 224 input groups
// may be cut; down is 224 lanes x 8 experts. On two nodes each has half of the columns.
TEST(PieceQueue, TwoToNinetySixWorkersAreEvenlyLoaded) {
  for (int workers : {2, 48, 60, 96}) {
    for (int64_t column_groups : {8 * 64, 8 * 32}) {
      const int64_t few = PieceQueue::kSmallestFraction * workers;
      const int64_t steps = column_groups >= few ? 1 : (few + column_groups - 1) / column_groups;
      const double gate_up = Efficiency(column_groups * steps, workers);
      const double down = Efficiency(224 * 8, workers);
      const double both = 1.0 / ((2 / gate_up + 1 / down) / 3);
      EXPECT_GE(gate_up, 0.97) << workers << " workers, " << column_groups << " column groups";
      EXPECT_GE(both, 0.97) << workers << " workers, down " << down;
      RecordProperty(
          "efficiency_" + std::to_string(workers) + "_of_" + std::to_string(column_groups),
          std::to_string(both));
      std::printf("%d workers, %ld column groups: gate and up %.3f, down %.3f, layer %.3f\n",
                  workers, static_cast<long>(column_groups), gate_up, down, both);
    }
  }
}

}  // namespace
}  // namespace tandem
