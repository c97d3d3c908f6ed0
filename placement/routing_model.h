// How likely a token is to use each expert: from a profile's counts, or all alike.
#pragma once

#include <cstdint>
#include <vector>

#include "core/model_shape.h"
#include "placement/expert_profile.h"

namespace tandem {

class RoutingModel {
 public:
  // All alike.
  explicit RoutingModel(const ModelShape& shape);
  // By counts [moe_layers * experts] of so many tokens; none: all alike. Experts never seen keep a
  // small share: half a use (Jeffreys' prior) is added to each.
  RoutingModel(const ModelShape& shape, const RoutingCounts& counts);

  // Of a token; all experts of a layer together: top_k.
  double Probability(int32_t moe_layer, int32_t expert) const {
    return p_[static_cast<size_t>(moe_layer) * experts_ + expert];
  }
  int32_t experts() const { return experts_; }
  bool even() const { return even_; }  // all alike

 private:
  int32_t experts_;
  bool even_ = true;
  std::vector<double> p_;  // [moe_layers * experts]
};

// E of different experts that B rows use, all alike: E (1 - (1 - k/E)^B).
double DistinctExperts(double experts, double top_k, double rows);

}  // namespace tandem
