#include "service/batch/batch_order.h"

#include <algorithm>
#include <span>
#include <utility>

namespace tandem {
namespace {

constexpr int64_t kBytesPerToken = 4;
constexpr int64_t kDecodeWork = 8;  // a generated token costs about as much as so many of a prompt

struct Group {
  size_t begin, end;
  int64_t most_work;
  int64_t first_index;
};

class Orderer {
 public:
  Orderer(const std::vector<JobItem>& items, std::vector<uint32_t>& places)
      : items_(items), places_(places) {}

  void Sort(size_t begin, size_t end, size_t level) {
    if (level == items_[0].prefix.size()) return SortByWork(begin, end);
    std::ranges::stable_sort(Range(begin, end), {},
                             [&](uint32_t place) { return items_[place].prefix[level]; });
    std::vector<Group> groups = GroupsOf(begin, end, level);
    if (groups.size() > 1) Arrange(groups, begin, end);
    for (const Group& group : groups) Sort(group.begin, group.end, level + 1);
  }

 private:
  std::span<uint32_t> Range(size_t begin, size_t end) {
    return std::span(places_).subspan(begin, end - begin);
  }

  void SortByWork(size_t begin, size_t end) {
    std::ranges::sort(Range(begin, end), {}, [&](uint32_t place) {
      return std::pair(-WorkOf(items_[place]), items_[place].index);
    });
  }

  std::vector<Group> GroupsOf(size_t begin, size_t end, size_t level) const {
    std::vector<Group> groups;
    for (size_t i = begin; i < end; ++i) {
      const JobItem& item = items_[places_[i]];
      if (i == begin || item.prefix[level] != items_[places_[i - 1]].prefix[level])
        groups.push_back({i, i, 0, item.index});
      Group& group = groups.back();
      group.end = i + 1;
      group.most_work = std::max(group.most_work, WorkOf(item));
      group.first_index = std::min(group.first_index, item.index);
    }
    return groups;
  }

  // Moves the groups into their order, and says where they are then.
  void Arrange(std::vector<Group>& groups, size_t begin, size_t end) {
    std::ranges::sort(groups, {},
                      [](const Group& g) { return std::pair(-g.most_work, g.first_index); });
    std::vector<uint32_t> arranged;
    arranged.reserve(end - begin);
    for (Group& group : groups) {
      const size_t at = begin + arranged.size();
      for (size_t i = group.begin; i < group.end; ++i) arranged.push_back(places_[i]);
      group = {at, begin + arranged.size(), group.most_work, group.first_index};
    }
    std::ranges::copy(arranged, places_.begin() + static_cast<ptrdiff_t>(begin));
  }

  const std::vector<JobItem>& items_;
  std::vector<uint32_t>& places_;
};

}  // namespace

int64_t PromptTokensOf(const JobItem& item) { return item.prompt_bytes / kBytesPerToken + 1; }

int64_t WorkOf(const JobItem& item) {
  if (item.malformed || item.duplicate_of != 0) return 1;
  const int64_t answer = item.max_tokens > 0 ? item.max_tokens : kUnsaidTokens;
  return PromptTokensOf(item) + kDecodeWork * answer;
}

std::vector<uint32_t> ChooseOrder(const std::vector<JobItem>& items, std::vector<uint32_t> places) {
  if (!places.empty()) Orderer(items, places).Sort(0, places.size(), 0);
  return places;
}

}  // namespace tandem
