#include "placement/pair_counter.h"

#include <algorithm>
#include <tuple>

namespace tandem {
namespace {

int64_t PairsPerToken(const ModelIdentity& model) {
  const int64_t layers = model.moe_layers(), k = model.top_k;
  return layers * (k * (k - 1) / 2) + std::max<int64_t>(layers - 1, 0) * k * k;
}

}  // namespace

bool PairBefore(const ExpertPair& a, const ExpertPair& b) {
  return std::tuple(a.moe_layer, a.next_layer, -a.count, a.first, a.second) <
         std::tuple(b.moe_layer, b.next_layer, -b.count, b.first, b.second);
}

void KeepTopPairs(std::vector<ExpertPair>& pairs) {
  std::sort(pairs.begin(), pairs.end(), PairBefore);
  int kept = 0;
  const ExpertPair* last = nullptr;
  std::vector<ExpertPair> top;
  for (const ExpertPair& pair : pairs) {
    const bool same =
        last != nullptr && last->moe_layer == pair.moe_layer && last->next_layer == pair.next_layer;
    kept = same ? kept + 1 : 1;
    if (kept <= kTopPairs) top.push_back(pair);
    last = &pair;
  }
  pairs = std::move(top);
}

PairCounter::PairCounter(const ModelIdentity& model)
    : moe_layers_(model.moe_layers()),
      experts_(model.experts),
      top_k_(model.top_k),
      pairs_per_token_(PairsPerToken(model)),
      same_layer_(int64_t{moe_layers_} * experts_ * experts_),
      next_layer_(same_layer_.size()) {}

void PairCounter::Sample(int64_t rows, std::span<const uint16_t> ids) {
  if (rows == 0 || pairs_per_token_ == 0) return;
  ++steps_;
  credit_ = std::min(credit_ + kPairsPerStep, std::max(kPairsPerStep, pairs_per_token_));
  const int64_t n = std::min(rows, credit_ / pairs_per_token_);
  // Spread over the step, and beginning elsewhere each time.
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = (steps_ * 7919 + i * rows / n) % rows;
    CountToken(ids.data() + row * moe_layers_ * top_k_);
  }
  credit_ -= n * pairs_per_token_;
  tokens_ += n;
}

void PairCounter::CountToken(const uint16_t* ids) {
  const int64_t table = int64_t{experts_} * experts_;
  for (int64_t layer = 0; layer < moe_layers_; ++layer) {
    const uint16_t* mine = ids + layer * top_k_;
    const uint16_t* next = layer + 1 < moe_layers_ ? mine + top_k_ : nullptr;
    uint32_t* same_layer = same_layer_.data() + layer * table;
    uint32_t* next_layer = next_layer_.data() + layer * table;
    for (int32_t i = 0; i < top_k_; ++i) {
      for (int32_t j = i + 1; j < top_k_; ++j) {
        const auto [low, high] = std::minmax(mine[i], mine[j]);
        ++same_layer[int64_t{low} * experts_ + high];
      }
      for (int32_t j = 0; next != nullptr && j < top_k_; ++j)
        ++next_layer[int64_t{mine[i]} * experts_ + next[j]];
    }
  }
}

std::vector<ExpertPair> PairCounter::Top() const {
  std::vector<ExpertPair> pairs;
  const int64_t table = int64_t{experts_} * experts_;
  for (const bool next_layer : {false, true}) {
    const std::vector<uint32_t>& counts = next_layer ? next_layer_ : same_layer_;
    std::vector<ExpertPair> of_layer;
    for (int64_t at = 0; at < std::ssize(counts); ++at) {
      if (counts[at] > 0) {
        const int64_t cell = at % table;
        of_layer.push_back({static_cast<int32_t>(at / table), next_layer,
                            static_cast<int32_t>(cell / experts_),
                            static_cast<int32_t>(cell % experts_), counts[at]});
      }
      if ((at + 1) % table != 0) continue;
      KeepTopPairs(of_layer);
      pairs.insert(pairs.end(), of_layer.begin(), of_layer.end());
      of_layer.clear();
    }
  }
  std::sort(pairs.begin(), pairs.end(), PairBefore);
  return pairs;
}

}  // namespace tandem
