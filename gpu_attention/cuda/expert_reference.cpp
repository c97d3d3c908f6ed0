#include "gpu_attention/cuda/expert_reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tandem {
namespace {

// Rows of one panel into weights[16 rows, columns] with `row_elems` from row to row.
void DecodePanel(const uint8_t* panel, int64_t inputs, float* weights, int64_t row_elems) {
  for (int64_t row = 0; row < kPanelRows; ++row) {
    for (int64_t input = 0; input < inputs; ++input) {
      const int64_t group = input / 32, in_half = input % 16;
      const uint8_t byte = panel[group * 256 + in_half / 4 * 64 + row * 4 + in_half % 4];
      const int nibble = input % 32 < 16 ? byte & 15 : byte >> 4;
      bf16 scale;
      std::memcpy(&scale, panel + PanelScaleOffset(inputs) + group * 32 + row * 2, sizeof(scale));
      const bf16 weight = ToBf16(static_cast<float>(nibble - 8) * ToFloat(scale));
      weights[row * row_elems + input] = ToFloat(weight);
    }
  }
}

double Dot(const std::vector<float>& matrix, int64_t row, const std::vector<double>& x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += matrix[row * x.size() + i] * x[i];
  return sum;
}

}  // namespace

DecodedExpert DecodeExpert(const ExpertCuts& cuts, const uint8_t* expert) {
  DecodedExpert out = {cuts.hidden, cuts.width, {}, {}, {}};
  out.gate.resize(out.hidden * out.width);
  out.up.resize(out.hidden * out.width);
  out.down.resize(out.hidden * out.width);
  for (int32_t s = 0; s < cuts.n_shards; ++s) {
    const int64_t begin = cuts.begin[s];
    const ExpertLayout layout = {out.hidden, cuts.begin[s + 1] - begin};
    const uint8_t* shard = expert + cuts.offset[s];
    for (int64_t panel = 0; panel < layout.intermediate / 16; ++panel) {
      const int64_t at = (begin + panel * 16) * out.hidden;
      DecodePanel(shard + layout.gate_panel(panel), out.hidden, &out.gate[at], out.hidden);
      DecodePanel(shard + layout.up_panel(panel), out.hidden, &out.up[at], out.hidden);
    }
    for (int64_t panel = 0; panel < out.hidden / 16; ++panel) {
      DecodePanel(shard + layout.down_panel(panel), layout.intermediate,
                  &out.down[panel * 16 * out.width + begin], out.width);
    }
  }
  return out;
}

void AddExpertReference(const DecodedExpert& expert, const bf16* x, double weight, double* y,
                        double* bound) {
  std::vector<double> in(expert.hidden), h(expert.width);
  for (int64_t i = 0; i < expert.hidden; ++i) in[i] = ToFloat(x[i]);
  for (int64_t i = 0; i < expert.width; ++i) {
    const double gate = Dot(expert.gate, i, in), up = Dot(expert.up, i, in);
    h[i] = ToFloat(ToBf16(static_cast<float>(gate / (1.0 + std::exp(-gate)) * up)));
  }
  for (int64_t o = 0; o < expert.hidden; ++o) {
    double sum = 0, absolute = 0, largest = 0;
    for (int64_t i = 0; i < expert.width; ++i) {
      const double term = expert.down[o * expert.width + i] * h[i];
      sum += term;
      absolute += std::fabs(term);
      largest = std::max(largest, std::fabs(term));
    }
    y[o] += weight * sum;
    bound[o] += std::fabs(weight) * (largest / 128 + absolute * 2e-6);
  }
}

}  // namespace tandem
