// Hands out [0, units) to the workers of a node in contiguous pieces that shrink: half of the work
// in one long piece per worker, known without asking, the rest in ever smaller ones to whoever is
// free. So streams are long and all workers finish within a smallest piece of one another.
//
// Units belong to items, `steps` consecutive units each, and a piece may begin or end inside an
// item: see ForEachPart.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tandem {

struct Piece {
  int64_t begin = 0, end = 0;
};

class PieceQueue {
 public:
  // A worker's share is cut so fine that the last piece is at most this fraction of it.
  static constexpr int64_t kSmallestFraction = 64;

  // Not thread-safe, like the move that a container wants.
  void Reset(int64_t units, int workers) {
    units_ = units;
    workers_ = workers;
    first_ = units / (2 * workers);
    smallest_ = std::max<int64_t>(units / (workers * kSmallestFraction), 1);
    next_.store(first_ * workers, std::memory_order_relaxed);
  }

  // The long piece of this worker; may be empty.
  Piece First(int rank) const { return {rank * first_, (rank + 1) * first_}; }

  // Another piece; false when everything is handed out. Thread-safe.
  bool Next(Piece& piece) {
    int64_t begin = next_.load(std::memory_order_relaxed);
    for (;;) {
      if (begin >= units_) return false;
      const int64_t left = units_ - begin;
      const int64_t size = std::min(left, std::max(left / (2 * workers_), smallest_));
      if (next_.compare_exchange_weak(begin, begin + size, std::memory_order_relaxed)) {
        piece = {begin, begin + size};
        return true;
      }
    }
  }

 private:
  int64_t units_ = 0, workers_ = 1, first_ = 0, smallest_ = 1;
  std::atomic<int64_t> next_{0};
};

// The parts of a piece, item by item. An item that two workers share is done in the order of its
// steps: whoever has the later ones waits for the earlier. That wait is short, because a piece's
// last item, which the next worker waits for, is done first, and its first item, which waits for
// another, last. It always ends: earlier pieces are handed out earlier, and a part that starts an
// item waits for nobody.
//
//   whole(first, last)        items [first, last), all steps
//   part(item, begin, end)    steps [begin, end) of one item; the steps before are done
//   wait(item, step)          returns once `step` steps of the item are done
//   done(item, step)          says that `step` steps of the item are done
template <class Whole, class Part, class Wait, class Done>
void ForEachPart(const Piece& piece, int64_t steps, Whole&& whole, Part&& part, Wait&& wait,
                 Done&& done) {
  if (piece.begin >= piece.end) return;
  const int64_t first = piece.begin / steps, head = piece.begin % steps;
  const int64_t last = piece.end / steps, tail = piece.end % steps;
  if (first == last) {  // inside one item
    if (head > 0) wait(first, head);
    part(first, head, tail);
    done(first, tail);
    return;
  }
  if (tail > 0) {
    part(last, 0, tail);
    done(last, tail);
  }
  const int64_t first_whole = first + (head > 0 ? 1 : 0);
  if (first_whole < last) whole(first_whole, last);
  if (head > 0) {
    wait(first, head);
    part(first, head, steps);
  }
}

}  // namespace tandem
