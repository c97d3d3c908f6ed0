#include "engine/text/bpe.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace tandem {
namespace {

constexpr int32_t kNoPair = std::numeric_limits<int32_t>::max();
constexpr uint32_t kGone = 0xFFFFFFFF;

uint8_t ByteAt(std::string_view piece, size_t at) { return static_cast<uint8_t>(piece[at]); }

}  // namespace

void BytePairEncoder::Encode(std::string_view piece, std::vector<int32_t>& ids) {
  if (const int32_t rank = vocabulary_.Find(piece); rank != Vocabulary::kNone) {
    ids.push_back(rank);
  } else if (piece.size() <= kMaxScanBytes) {
    MergeByScan(piece, ids);
  } else {
    MergeByHeap(piece, ids);
  }
}

int32_t BytePairEncoder::PairRank(std::string_view piece, size_t begin, size_t end) const {
  const int32_t rank = end - begin == 2
                           ? vocabulary_.FindPair(ByteAt(piece, begin), ByteAt(piece, begin + 1))
                           : vocabulary_.Find(piece.substr(begin, end - begin));
  return rank == Vocabulary::kNone ? kNoPair : rank;
}

void BytePairEncoder::MergeByScan(std::string_view piece, std::vector<int32_t>& ids) {
  const size_t n = piece.size();
  parts_.clear();
  for (uint32_t i = 0; i < n; ++i) {
    const int32_t pair = i + 1 < n ? PairRank(piece, i, i + 2) : kNoPair;
    parts_.push_back({i, vocabulary_.FindByte(ByteAt(piece, i)), pair});
  }
  const auto begin_of = [&](size_t part) { return part < parts_.size() ? parts_[part].begin : n; };
  while (true) {
    const auto best = std::min_element(
        parts_.begin(), parts_.end(),
        [](const Part& a, const Part& b) { return a.pair_rank < b.pair_rank; });  // first of equals
    if (best == parts_.end() || best->pair_rank == kNoPair) break;
    const size_t i = best - parts_.begin();
    best->rank = best->pair_rank;
    parts_.erase(best + 1);
    parts_[i].pair_rank =
        i + 1 < parts_.size() ? PairRank(piece, parts_[i].begin, begin_of(i + 2)) : kNoPair;
    if (i > 0) parts_[i - 1].pair_rank = PairRank(piece, parts_[i - 1].begin, begin_of(i + 1));
  }
  for (const Part& part : parts_) ids.push_back(part.rank);
}

void BytePairEncoder::MergeByHeap(std::string_view piece, std::vector<int32_t>& ids) {
  const auto n = static_cast<uint32_t>(piece.size());
  const auto end_of = [&](uint32_t node) { return nodes_[node].next; };
  nodes_.resize(n + 1);
  heap_.clear();
  // Lowest rank first, then leftmost: rank in the upper half, index in the lower.
  const auto push = [&](uint32_t i) {
    const int32_t pair = nodes_[i].pair_rank;
    if (pair == kNoPair) return;
    heap_.push_back(static_cast<uint64_t>(pair) << 32 | i);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  };
  const auto renew_pair = [&](uint32_t i) {
    const uint32_t next = nodes_[i].next;
    nodes_[i].pair_rank = next < n ? PairRank(piece, i, end_of(next)) : kNoPair;
    push(i);
  };
  for (uint32_t i = 0; i < n; ++i)
    nodes_[i] = {i == 0 ? kGone : i - 1, i + 1, vocabulary_.FindByte(ByteAt(piece, i)), kNoPair};
  for (uint32_t i = 0; i < n; ++i) renew_pair(i);

  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const auto i = static_cast<uint32_t>(heap_.back());
    const auto pair = static_cast<int32_t>(heap_.back() >> 32);
    heap_.pop_back();
    if (nodes_[i].pair_rank != pair) continue;  // merged or changed since it was pushed
    const uint32_t gone = nodes_[i].next;
    nodes_[i].rank = pair;
    nodes_[i].next = nodes_[gone].next;
    nodes_[gone].pair_rank = kNoPair;
    if (nodes_[i].next < n) nodes_[nodes_[i].next].previous = i;
    renew_pair(i);
    if (nodes_[i].previous != kGone) renew_pair(nodes_[i].previous);
  }
  for (uint32_t i = 0; i < n; i = nodes_[i].next) ids.push_back(nodes_[i].rank);
}

}  // namespace tandem
