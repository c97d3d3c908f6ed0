// How unevenly experts are used, and how differently: of a layer, between two sets of counts, and
// what independent choices would look like. All functions are pure.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

inline constexpr std::array<int, 4> kTopPercents = {1, 5, 10, 20};

struct Skew {
  double gini = 0;           // 0: all experts alike; 1 - 1/experts: one has everything
  double entropy_share = 0;  // of the largest possible, log(experts): 1 when all are alike
  std::array<double, kTopPercents.size()> top{};  // share of the hits of the busiest kTopPercents
};

// Of one layer's hits [experts]. Without hits: as if all were alike. A share of a percentage that
// is no whole number of experts takes the last one in part.
Skew SkewOf(std::span<const int64_t> hits);

// The `percent` busiest cells (at least one), as their numbers ascending; cells without hits are
// never among them. Of equals the lower cell comes first.
std::vector<int32_t> TopCells(std::span<const int64_t> hits, double percent);

// |a and b| / |a or b| of two ascending sets; 1 when both are empty.
double Jaccard(std::span<const int32_t> a, std::span<const int32_t> b);
// What two random sets of that share of all cells have in common: p / (2 - p).
double JaccardOfRandomSets(double percent);

// Jensen-Shannon divergence in bits, 0 (the same shares) to 1 (nothing in common), of two layers'
// hits [experts]; 0 if one has no hits.
double JensenShannon(std::span<const int64_t> a, std::span<const int64_t> b);
// Its mean over layers; a and b [layers * experts].
double MeanJensenShannon(std::span<const int64_t> a, std::span<const int64_t> b, int64_t experts);

// Different experts that `rows` tokens meet when each chooses top_k of `experts` independently and
// evenly: E (1 - (1 - k/E)^rows).
double IndependentDistinct(double rows, int64_t experts, int64_t top_k);

// Share of uses whose expert the layer used at most `tokens` tokens ago, for the same independent
// choices: 1 - (1 - k/E)^tokens.
double IndependentReuse(double tokens, int64_t experts, int64_t top_k);

}  // namespace tandem
