#include "engine/wait_queue.h"

#include <algorithm>
#include <queue>

namespace tandem {

void WaitQueue::Push(std::unique_ptr<Sequence> sequence) {
  Lines& lines = lines_[static_cast<int>(sequence->priority())];
  auto line = std::ranges::find(lines, sequence->share(), &Line::share);
  if (line == lines.end()) line = lines.insert(lines.end(), Line{sequence->share(), {}});
  const auto place = std::ranges::upper_bound(
      line->waiting, sequence->number(), {}, [](const auto& waiting) { return waiting->number(); });
  line->waiting.insert(place, std::move(sequence));
}

std::unique_ptr<Sequence> WaitQueue::Take(const Sequence* sequence) {
  Lines& lines = lines_[static_cast<int>(sequence->priority())];
  const auto line = std::ranges::find(lines, sequence->share(), &Line::share);
  const auto at = std::ranges::find(line->waiting, sequence, &std::unique_ptr<Sequence>::get);
  std::unique_ptr<Sequence> taken = std::move(*at);
  line->waiting.erase(at);
  if (line->waiting.empty()) lines.erase(line);
  return taken;
}

void WaitQueue::EraseIf(const std::function<bool(Sequence&)>& condition) {
  for (Lines& lines : lines_) {
    for (Line& line : lines)
      std::erase_if(line.waiting, [&](const auto& sequence) { return condition(*sequence); });
    std::erase_if(lines, [](const Line& line) { return line.waiting.empty(); });
  }
}

std::vector<Sequence*> WaitQueue::First(size_t most) const {
  std::vector<Sequence*> order;
  for (const Lines& lines : lines_) AppendInOrder(lines, most, order);
  return order;
}

void WaitQueue::AppendInOrder(const Lines& lines, size_t most, std::vector<Sequence*>& order) {
  struct Head {
    double served;
    const Line* line;
    size_t index;
    const Sequence& sequence() const { return *line->waiting[index]; }
    bool operator<(const Head& other) const {  // the largest is the next
      if (served != other.served) return served > other.served;
      return sequence().number() > other.sequence().number();
    }
  };
  std::priority_queue<Head> heads;
  for (const Line& line : lines) heads.push({line.share->served + line.share->pending, &line, 0});
  while (!heads.empty() && order.size() < most) {
    Head head = heads.top();
    heads.pop();
    order.push_back(head.line->waiting[head.index].get());
    head.served += head.sequence().tokens_to_serve();
    if (++head.index < head.line->waiting.size()) heads.push(head);
  }
}

int32_t WaitQueue::size() const {
  int32_t size = 0;
  for (int32_t waiting : by_priority()) size += waiting;
  return size;
}

std::array<int32_t, kPriorities> WaitQueue::by_priority() const {
  std::array<int32_t, kPriorities> counts{};
  for (int priority = 0; priority < kPriorities; ++priority)
    for (const Line& line : lines_[priority])
      counts[priority] += static_cast<int32_t>(line.waiting.size());
  return counts;
}

}  // namespace tandem
