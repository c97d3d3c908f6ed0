#include "placement/hit_curve.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/status.h"

namespace tandem {
namespace {

std::vector<int32_t> Sorted(std::span<const int64_t> hits, int64_t begin, int64_t end) {
  std::vector<int32_t> cells(end - begin);
  std::iota(cells.begin(), cells.end(), static_cast<int32_t>(begin));
  std::stable_sort(cells.begin(), cells.end(),
                   [&](int32_t a, int32_t b) { return hits[a] > hits[b]; });
  return cells;
}

}  // namespace

std::vector<int32_t> RankByFrequency(std::span<const int64_t> hits) {
  return Sorted(hits, 0, static_cast<int64_t>(hits.size()));
}

std::vector<int32_t> RankPerLayer(std::span<const int64_t> hits, int64_t experts) {
  TANDEM_CHECK(experts > 0 && hits.size() % experts == 0, "counts are [layers * experts]");
  const int64_t layers = static_cast<int64_t>(hits.size()) / experts;
  std::vector<int32_t> ranking(hits.size());
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::vector<int32_t> cells = Sorted(hits, layer * experts, (layer + 1) * experts);
    for (int64_t place = 0; place < experts; ++place)
      ranking[place * layers + layer] = cells[place];
  }
  for (int64_t place = 0; place < experts; ++place)
    std::stable_sort(ranking.begin() + place * layers, ranking.begin() + (place + 1) * layers,
                     [&](int32_t a, int32_t b) { return hits[a] > hits[b]; });
  return ranking;
}

std::vector<double> HitRates(std::span<const int32_t> ranking, std::span<const int64_t> hits,
                             std::span<const int64_t> sizes) {
  const auto all = static_cast<double>(std::accumulate(hits.begin(), hits.end(), int64_t{0}));
  std::vector<double> rates;
  rates.reserve(sizes.size());
  int64_t taken = 0, met = 0;
  for (const int64_t size : sizes) {
    TANDEM_CHECK(size >= taken && size <= static_cast<int64_t>(ranking.size()),
                 "sizes ascend and are no more than there are experts");
    for (; taken < size; ++taken) met += hits[ranking[taken]];
    rates.push_back(all > 0 ? static_cast<double>(met) / all : 0);
  }
  return rates;
}

HitCurves MakeHitCurves(std::span<const int64_t> train, std::span<const int64_t> judged,
                        int64_t experts, std::vector<int64_t> sizes) {
  TANDEM_CHECK(train.size() == judged.size(), "counts are of one model");
  HitCurves curves;
  curves.frequency = HitRates(RankByFrequency(train), judged, sizes);
  curves.per_layer = HitRates(RankPerLayer(train, experts), judged, sizes);
  curves.oracle = HitRates(RankByFrequency(judged), judged, sizes);
  for (const int64_t size : sizes)
    curves.uniform.push_back(static_cast<double>(size) / static_cast<double>(judged.size()));
  curves.hot = std::move(sizes);
  return curves;
}

std::vector<int64_t> HotCounts(int64_t cells, std::span<const double> percents) {
  std::vector<int64_t> counts;
  for (const double percent : percents)
    counts.push_back(std::llround(percent / 100 * static_cast<double>(cells)));
  return counts;
}

}  // namespace tandem
