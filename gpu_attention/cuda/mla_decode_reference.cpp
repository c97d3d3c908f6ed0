#include "gpu_attention/cuda/mla_decode_reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gpu_attention/step_batch.h"

namespace tandem {

void MlaDecodeReference(const MlaDecodeReferenceArgs& a) {
  const int64_t dim = a.latent + a.rope;
  const auto cached = [&](int32_t s) {
    return a.cache + (int64_t{a.pages[s / kPageTokens]} * kPageTokens + s % kPageTokens) * dim;
  };
  for (int32_t head = 0; head < a.heads; ++head) {
    const bf16* query = a.query + head * dim;
    std::vector<double> p(a.kv_len);
    double max = -INFINITY, sum = 0;
    for (int32_t s = 0; s < a.kv_len; ++s) {
      for (int64_t d = 0; d < dim; ++d) p[s] += double{ToFloat(query[d])} * ToFloat(cached(s)[d]);
      p[s] *= a.scale;
      max = std::max(max, p[s]);
    }
    for (double& v : p) sum += v = std::exp(v - max);
    for (int64_t d = 0; d < a.latent; ++d) {
      double out = 0;
      for (int32_t s = 0; s < a.kv_len; ++s) out += p[s] / sum * ToFloat(cached(s)[d]);
      a.out[head * int64_t{a.latent} + d] = static_cast<float>(out);
    }
  }
}

}  // namespace tandem
