// Requests that wait to be admitted. Order: higher priority first; within a priority the party
// (fair_share) that has been served least; within a party by number, that is by arrival.
//
// Owned by the scheduler.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <vector>

#include "engine/sequence.h"

namespace tandem {

class WaitQueue {
 public:
  // REQUIRES: the sequence has its share.
  void Push(std::unique_ptr<Sequence> sequence);
  std::unique_ptr<Sequence> Take(const Sequence* sequence);
  // Takes out those of which this is true.
  void EraseIf(const std::function<bool(Sequence&)>& condition);

  // The first in order of admission; the tokens that each has to get count as served for those
  // behind it.
  std::vector<Sequence*> First(size_t most = std::numeric_limits<size_t>::max()) const;

  bool empty() const { return size() == 0; }
  int32_t size() const;
  std::array<int32_t, kPriorities> by_priority() const;

 private:
  struct Line {
    FairShare* share;
    std::deque<std::unique_ptr<Sequence>> waiting;  // in order of number; not empty
  };
  using Lines = std::list<Line>;
  static void AppendInOrder(const Lines& lines, size_t most, std::vector<Sequence*>& order);

  std::array<Lines, kPriorities> lines_;  // by priority, of each party one
};

}  // namespace tandem
