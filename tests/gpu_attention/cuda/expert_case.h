// Random layers of routed experts in panel16g32, for the tests of the kernels that compute them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cpu_experts/shards.h"
#include "gpu_attention/cuda/expert_reference.h"
#include "tests/cpu_experts/moe_case.h"

namespace tandem::test {

// The experts of a layer, packed one after the other; slot e holds expert e.
struct PackedExperts {
  ShardedLayout layout;
  ExpertCuts cuts;
  std::vector<uint8_t> bytes;  // [experts, layout.expert_bytes()]
  std::vector<DecodedExpert> decoded;

  PackedExperts(const MoeCase& c, int n_shards)
      : layout(c.shape.hidden, c.shape.intermediate, n_shards), cuts(CutsOf(layout)) {
    bytes.resize(c.shape.experts * layout.expert_bytes());
    for (int32_t e = 0; e < c.shape.experts; ++e) {
      PackShards(layout, c.expert(e), expert(e));
      decoded.push_back(DecodeExpert(cuts, expert(e)));
    }
  }
  uint8_t* expert(int32_t e) { return bytes.data() + e * layout.expert_bytes(); }
};

// y [tokens, hidden] within `bound` of `want`; NaN never is.
inline void ExpectWithin(const std::vector<float>& y, const std::vector<double>& want,
                         const std::vector<double>& bound, int64_t hidden) {
  ASSERT_EQ(y.size(), want.size());
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_LE(std::fabs(y[i] - want[i]), bound[i])
        << "token " << i / hidden << " output " << i % hidden << ": " << y[i] << ", not "
        << want[i];
  }
}

}  // namespace tandem::test
