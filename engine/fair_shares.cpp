#include "engine/fair_shares.h"

#include <algorithm>
#include <limits>

namespace tandem {

double FairShares::Floor() const {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (const auto& [name, share] : shares_) {
    most = std::max(most, share.served);
    if (share.members > 0) least = std::min(least, share.served);
  }
  return std::min(least, most);
}

FairShare* FairShares::Join(const std::string& name) {
  auto [at, is_new] = shares_.try_emplace(name);
  FairShare& share = at->second;
  if (share.members == 0) {
    share.name = name;
    share.served = std::max(share.served, Floor());
  }
  ++share.members;
  return &share;
}

void FairShares::ClearPending() {
  for (auto& [name, share] : shares_) share.pending = 0;
}

void FairShares::Leave(FairShare* share) {
  if (--share->members > 0) return;
  // An account that is not above the floor says nothing any more.
  const double floor = Floor();
  std::erase_if(shares_, [floor](const auto& entry) {
    return entry.second.members == 0 && entry.second.served <= floor;
  });
}

}  // namespace tandem
