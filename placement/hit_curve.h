// How many of the routed choices meet a hot expert, against the number of hot experts. A ranking is
// made from some counts and judged on others; judged on its own counts it is the oracle, which no
// placement reaches, and says so by its name.
//
// A cell is an expert of a layer: moe_layer * experts + expert. All functions are pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tandem {

// All cells, hottest first, whatever their layer. Of equals the lower cell comes first.
std::vector<int32_t> RankByFrequency(std::span<const int64_t> hits);

// All cells such that the first n of them are as many of each layer as n allows: the hottest of
// every layer, then the second of every layer, ... Within such a round hottest first.
std::vector<int32_t> RankPerLayer(std::span<const int64_t> hits, int64_t experts);

// out[i] = sum of `hits` over the first sizes[i] cells of `ranking` / sum of `hits`; 0 if that is
// 0. REQUIRES: sizes ascend and are at most ranking.size().
std::vector<double> HitRates(std::span<const int32_t> ranking, std::span<const int64_t> hits,
                             std::span<const int64_t> sizes);

struct HitCurves {
  int64_t train_tokens = 0;       // the ranking is made from
  int64_t judged_tokens = 0;      // the hit rates are of
  std::vector<int64_t> hot;       // numbers of hot experts, over all layers
  std::vector<double> frequency;  // [hot], RankByFrequency of the training counts
  std::vector<double> per_layer;  // [hot], RankPerLayer of the training counts
  std::vector<double> oracle;     // [hot], RankByFrequency of the judged counts themselves
  std::vector<double> uniform;    // [hot], if all experts were used alike: hot / cells
};

// `train` and `judged` [cells] are hits; empty training counts rank as the cells are numbered.
HitCurves MakeHitCurves(std::span<const int64_t> train, std::span<const int64_t> judged,
                        int64_t experts, std::vector<int64_t> sizes);

// round(percents[i] / 100 * cells), ascending.
std::vector<int64_t> HotCounts(int64_t cells, std::span<const double> percents);

}  // namespace tandem
