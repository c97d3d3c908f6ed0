#include "placement/routing_model.h"

#include <cmath>

#include "core/status.h"

namespace tandem {

RoutingModel::RoutingModel(const ModelShape& s) : experts_(s.experts) {
  if (s.experts == 0) return;
  p_.assign(static_cast<size_t>(s.moe_layers()) * s.experts,
            static_cast<double>(s.top_k) / s.experts);
}

RoutingModel::RoutingModel(const ModelShape& s, const RoutingCounts& counts) : RoutingModel(s) {
  if (counts.tokens == 0) return;
  even_ = false;
  TANDEM_CHECK(counts.hits.size() == p_.size(), "counts are of this model");
  constexpr double kPrior = 0.5;
  const double uses = static_cast<double>(counts.tokens) * s.top_k + kPrior * s.experts;
  for (size_t i = 0; i < p_.size(); ++i)
    p_[i] = s.top_k * (static_cast<double>(counts.hits[i]) + kPrior) / uses;
}

double DistinctExperts(double experts, double top_k, double rows) {
  return experts * (1 - std::pow(1 - top_k / experts, rows));
}

}  // namespace tandem
