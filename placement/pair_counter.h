// Which experts the same token uses together, in a layer and from a layer to the next, counted for
// a sample of the tokens: a token of Kimi K2.6 has 5,456 such pairs, so all of them would cost more
// than everything else that is counted. Engine's thread, or nobody's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "placement/expert_profile.h"

namespace tandem {

// Kept in a profile, per layer and kind.
inline constexpr int kTopPairs = 32;

// The order of a profile's pairs: by layer, kind, then most frequent first.
bool PairBefore(const ExpertPair& a, const ExpertPair& b);
// Sorts, and keeps kTopPairs of each layer and kind.
void KeepTopPairs(std::vector<ExpertPair>& pairs);

class PairCounter {
 public:
  explicit PairCounter(const ModelIdentity& model);

  // Counts a few tokens of a step, or none: about kPairsPerStep pairs a step in the long run.
  // ids [rows, moe_layers, top_k], all of them experts of the model.
  void Sample(int64_t rows, std::span<const uint16_t> ids);

  int64_t tokens() const { return tokens_; }
  std::vector<ExpertPair> Top() const;

 private:
  static constexpr int64_t kPairsPerStep = 512;

  void CountToken(const uint16_t* ids);  // [moe_layers, top_k]

  const int32_t moe_layers_, experts_, top_k_;
  const int64_t pairs_per_token_;
  int64_t credit_ = 0, steps_ = 0, tokens_ = 0;
  // [moe_layers, experts, experts] by first, second (K2.6: 35 MB each).
  std::vector<uint32_t> same_layer_, next_layer_;
};

}  // namespace tandem
