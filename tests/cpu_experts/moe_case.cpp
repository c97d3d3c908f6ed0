#include "tests/cpu_experts/moe_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <random>

#include "absl/strings/str_format.h"
#include "cpu_experts/activation.h"
#include "cpu_experts/moe_driver.h"

namespace tandem::test {

std::ostream& operator<<(std::ostream& out, const MoeCaseShape& shape) { return out << shape.name; }

MatrixData MatrixData::Random(int64_t rows, int64_t inputs, uint64_t seed) {
  MatrixData m;
  m.rows = rows;
  m.inputs = inputs;
  std::mt19937_64 random(seed);
  m.packed.resize(rows * inputs / 2);
  for (uint8_t& byte : m.packed) byte = static_cast<uint8_t>(random());
  // Scales that keep the sums of a row near 1, all different, some negative.
  std::uniform_real_distribution<float> scale(0.5f, 1.5f);
  const float unit = 1.0f / (4.6f * std::sqrt(static_cast<float>(inputs)));
  m.scales.resize(rows * inputs / 32);
  for (bf16& s : m.scales) s = ToBf16(scale(random) * unit * (random() % 8 == 0 ? -1.0f : 1.0f));
  return m;
}

Int4Matrix MatrixData::view() const {
  return {{packed.data(), {rows, inputs / 2}}, {scales.data(), {rows, inputs / 32}}};
}

double MatrixData::at(int64_t row, int64_t input, ExpertActivations activations) const {
  const uint8_t byte = packed[row * inputs / 2 + input / 2];
  const int nibble = input % 2 == 0 ? byte & 15 : byte >> 4;
  const double exact =
      (nibble - 8) * static_cast<double>(ToFloat(scales[row * inputs / 32 + input / 32]));
  return activations == ExpertActivations::kBf16 ? ToFloat(ToBf16(static_cast<float>(exact)))
                                                 : exact;
}

MoeCase::MoeCase(const MoeCaseShape& s, uint64_t seed) : shape(s) {
  std::mt19937_64 random(seed);
  for (int e = 0; e < s.experts; ++e) {
    gate.push_back(MatrixData::Random(s.intermediate, s.hidden, random()));
    up.push_back(MatrixData::Random(s.intermediate, s.hidden, random()));
    down.push_back(MatrixData::Random(s.hidden, s.intermediate, random()));
  }
  std::normal_distribution<float> normal;
  for (int i = 0; i < s.tokens * s.hidden; ++i) x.push_back(ToBf16(normal(random)));
  std::uniform_real_distribution<float> weight(0.1f, 1.0f);
  std::vector<int32_t> all(s.experts);
  for (int e = 0; e < s.experts; ++e) all[e] = e;
  for (int t = 0; t < s.tokens; ++t) {
    std::shuffle(all.begin(), all.end(), random);
    for (int k = 0; k < s.top_k; ++k) {
      int32_t id = all[k];
      if (s.routing == Routing::kOneExpert) id = k == 0 ? s.experts - 1 : -1;
      if (s.routing == Routing::kSomeSkipped && random() % 3 == 0) id = -1;
      ids.push_back(id);
      weights.push_back(weight(random));
    }
  }
}

RoutedTokens MoeCase::routed() const {
  return {{x.data(), {shape.tokens, shape.hidden}},
          {ids.data(), {shape.tokens, shape.top_k}},
          {weights.data(), {shape.tokens, shape.top_k}}};
}

ExpertWeights MoeCase::expert(int32_t e) const {
  return {gate[e].view(), up[e].view(), down[e].view()};
}

MoeCase MoeCase::Select(const std::vector<int32_t>& tokens) const {
  MoeCase c = *this;
  c.shape.tokens = static_cast<int32_t>(tokens.size());
  c.x.clear();
  c.ids.clear();
  c.weights.clear();
  for (int32_t t : tokens) {
    c.x.insert(c.x.end(), &x[t * shape.hidden], &x[t * shape.hidden] + shape.hidden);
    for (int k = 0; k < shape.top_k; ++k) {
      c.ids.push_back(ids[t * shape.top_k + k]);
      c.weights.push_back(weights[t * shape.top_k + k]);
    }
  }
  return c;
}

namespace {

// A vector of values with the variance of the rounding of each to the mode's numbers.
struct Noisy {
  ExpertActivations activations;
  std::vector<double> value, variance;

  void AddRounding() {
    if (activations == ExpertActivations::kBf16) return AddBf16Rounding();
    const float codes = kLargestCode[activations == ExpertActivations::kInt8 ? 0 : 1];
    for (size_t begin = 0; begin < value.size(); begin += kActivationGroup) {
      double largest = 0.0;
      for (int i = 0; i < kActivationGroup; ++i)
        largest = std::max(largest, std::fabs(value[begin + i]));
      const double step = largest / codes;
      for (int i = 0; i < kActivationGroup; ++i) variance[begin + i] += step * step / 12;
    }
  }
  void AddBf16Rounding() {
    for (size_t i = 0; i < value.size(); ++i) {
      const double step = std::fabs(value[i]) / 128;  // at most
      variance[i] += step * step / 12;
    }
  }
};

struct Sum {
  double value = 0.0, variance = 0.0, magnitude = 0.0;
};

Sum Dot(const MatrixData& m, int64_t row, const Noisy& x) {
  Sum sum;
  for (int64_t i = 0; i < m.inputs; ++i) {
    const double w = m.at(row, i, x.activations);
    sum.value += w * x.value[i];
    sum.variance += w * w * x.variance[i];
    sum.magnitude += std::fabs(w * x.value[i]);
  }
  return sum;
}

// h = silu(gate x) * (up x), its variance, and the rounding of h itself.
Noisy Hidden(const MoeCase& c, int expert, const Noisy& x) {
  Noisy h{x.activations, {}, {}};
  for (int64_t j = 0; j < c.shape.intermediate; ++j) {
    const Sum g = Dot(c.gate[expert], j, x), u = Dot(c.up[expert], j, x);
    const double sigmoid = 1.0 / (1.0 + std::exp(-g.value));
    const double silu = g.value * sigmoid, slope = sigmoid * (1.0 + g.value * (1.0 - sigmoid));
    const double deviation = std::fabs(slope * u.value) * std::sqrt(g.variance) +
                             std::fabs(silu) * std::sqrt(u.variance);
    h.value.push_back(silu * u.value);
    h.variance.push_back(deviation * deviation);
  }
  h.AddRounding();
  return h;
}

}  // namespace

Expected Reference(const MoeCase& c, ExpertActivations activations) {
  constexpr double kDeviations = 8.0, kFloatTerm = 1e-6;
  const MoeCaseShape& s = c.shape;
  Expected expected{s.tokens, s.hidden, {}, {}};
  for (int t = 0; t < s.tokens; ++t) {
    Noisy x{activations, {}, {}};
    for (int i = 0; i < s.hidden; ++i) x.value.push_back(ToFloat(c.x[t * s.hidden + i]));
    x.variance.assign(s.hidden, 0.0);
    if (activations != ExpertActivations::kBf16) x.AddRounding();  // the inputs are BF16
    std::vector<Sum> y(s.hidden);
    for (int k = 0; k < s.top_k; ++k) {
      const int32_t e = c.ids[t * s.top_k + k];
      if (e < 0) continue;
      const double weight = c.weights[t * s.top_k + k];
      const Noisy h = Hidden(c, e, x);
      for (int i = 0; i < s.hidden; ++i) {
        const Sum d = Dot(c.down[e], i, h);
        y[i].value += weight * d.value;
        y[i].variance += weight * weight * d.variance;
        y[i].magnitude += weight * d.magnitude;
      }
    }
    for (const Sum& sum : y) {
      expected.y.push_back(sum.value);
      expected.tolerance.push_back(kDeviations * std::sqrt(sum.variance) +
                                   kFloatTerm * sum.magnitude);
    }
  }
  return expected;
}

std::string Compare(const Expected& expected, const std::vector<float>& y) {
  if (y.size() != expected.y.size()) return "sizes differ";
  double worst = -1.0;
  size_t at = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double error = std::fabs(y[i] - expected.y[i]);
    // A token without experts has tolerance 0 and must be exactly 0.
    double excess = error <= expected.tolerance[i] ? 0.0 : error / expected.tolerance[i];
    if (std::isnan(error)) excess = std::numeric_limits<double>::infinity();
    if (excess > worst) {
      worst = excess;
      at = i;
    }
  }
  if (worst <= 0.0) return "";
  return absl::StrFormat("token %d, element %d: got %.9g, expected %.9g +- %.3g",
                         static_cast<int>(at / expected.hidden),
                         static_cast<int>(at % expected.hidden), y[at], expected.y[at],
                         expected.tolerance[at]);
}

std::vector<float> RunDriver(const MoeCase& c, const KernelTable& kernel,
                             ExpertActivations activations, int workers) {
  constexpr int kGuard = 16;
  const float poison = std::numeric_limits<float>::quiet_NaN(), guard = -12345.0f;
  const MoeCaseShape& s = c.shape;
  WorkerTeam team({.workers = workers, .pin = false});
  const MoeDriverShape shape = {s.hidden, s.intermediate, s.experts, s.top_k, s.tokens};
  auto driver = MoeDriver::Create(shape, kernel, *kernel.mode(activations), team);
  EXPECT_TRUE(driver.ok()) << driver.status();
  const ExpertLayout layout = {s.hidden, s.intermediate};
  auto memory = NumaBuffer::Allocate(s.experts * layout.bytes());
  EXPECT_TRUE(memory.ok()) << memory.status();
  std::vector<std::vector<NodeExpert>> nodes(1);
  for (int e = 0; e < s.experts; ++e) {
    uint8_t* block = memory->as<uint8_t>() + e * layout.bytes();
    PackExpert(layout, c.expert(e), block);
    nodes[0].push_back({block, &layout});
  }

  const int64_t stride = s.hidden + kGuard;
  std::vector<float> guarded(kGuard + s.tokens * stride, guard);
  View<float, 2> y(guarded.data() + kGuard, {s.tokens, s.hidden}, {stride, 1});
  for (int t = 0; t < s.tokens; ++t) std::fill_n(y.row(t), s.hidden, poison);
  (*driver)->Forward(nodes, c.routed(), y);

  std::vector<float> result;
  for (int t = 0; t < s.tokens; ++t) {
    result.insert(result.end(), y.row(t), y.row(t) + s.hidden);
    for (int i = 0; i < kGuard; ++i)
      EXPECT_EQ(y.row(t)[s.hidden + i], guard) << "after row " << t << ", element " << i;
  }
  for (int i = 0; i < kGuard; ++i) EXPECT_EQ(guarded[i], guard) << "before the first row";
  return result;
}

}  // namespace tandem::test
