#include "gpu_attention/cuda/mla_prefill_reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tandem {
namespace {

double Dot(const bf16* a, const bf16* b, int32_t n) {
  double sum = 0;
  for (int32_t i = 0; i < n; ++i) sum += double{ToFloat(a[i])} * ToFloat(b[i]);
  return sum;
}

void OneQuery(const MlaPrefillReferenceArgs& a, int32_t token, int32_t head) {
  const bf16* q = a.q + (int64_t{token} * a.heads + head) * (a.nope + a.rope);
  const auto key = [&](int32_t s) { return a.kv + (int64_t{s} * a.heads + head) * (a.nope + a.v); };
  std::vector<double> p(a.kv_len + token + 1);
  double max = -INFINITY, sum = 0;
  for (int32_t s = 0; s < static_cast<int32_t>(p.size()); ++s) {
    p[s] =
        a.scale * (Dot(q, key(s), a.nope) + Dot(q + a.nope, a.k_pe + int64_t{s} * a.rope, a.rope));
    max = std::max(max, p[s]);
  }
  for (double& v : p) sum += v = std::exp(v - max);
  for (int32_t d = 0; d < a.v; ++d) {
    double out = 0;
    for (int32_t s = 0; s < static_cast<int32_t>(p.size()); ++s)
      out += p[s] / sum * ToFloat(key(s)[a.nope + d]);
    a.out[(int64_t{token} * a.heads + head) * a.v + d] = static_cast<float>(out);
  }
}

}  // namespace

void MlaPrefillReference(const MlaPrefillReferenceArgs& a) {
  for (int32_t token = 0; token < a.tokens; ++token)
    for (int32_t head = 0; head < a.heads; ++head) OneQuery(a, token, head);
}

}  // namespace tandem
