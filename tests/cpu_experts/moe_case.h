// Random MoE layers with a double-precision answer, for testing kernels and the driver.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "core/bf16.h"
#include "core/routed_tokens.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/kernel_table.h"

namespace tandem::test {

enum class Routing { kUniform, kOneExpert, kSomeSkipped };

struct MoeCaseShape {
  const char* name;
  int32_t tokens, hidden, intermediate, experts, top_k;
  Routing routing = Routing::kUniform;
};
std::ostream& operator<<(std::ostream& out, const MoeCaseShape& shape);

// One INT4 matrix as a checkpoint stores it.
struct MatrixData {
  int64_t rows = 0, inputs = 0;
  std::vector<uint8_t> packed;
  std::vector<bf16> scales;

  static MatrixData Random(int64_t rows, int64_t inputs, uint64_t seed);
  Int4Matrix view() const;
  double at(int64_t row, int64_t input, ExpertActivations activations) const;
};

struct MoeCase {
  MoeCaseShape shape;
  std::vector<MatrixData> gate, up, down;  // [experts]
  std::vector<bf16> x;
  std::vector<int32_t> ids;
  std::vector<float> weights;

  MoeCase(const MoeCaseShape& shape, uint64_t seed);
  RoutedTokens routed() const;
  ExpertWeights expert(int32_t e) const;
  // The same weights, and only these tokens in this order.
  MoeCase Select(const std::vector<int32_t>& tokens) const;
};

// What y must be, and by how much each element may be off.
struct Expected {
  int64_t tokens = 0, hidden = 0;
  std::vector<double> y, tolerance;  // [tokens, hidden]
};
// Weights as the mode defines them, exact activations, all in double. The tolerance is eight
// standard deviations of what rounding activations to the mode's numbers does to the result,
// propagated through the layer, plus a float summation term.
Expected Reference(const MoeCase& c, ExpertActivations activations);

// "" if y agrees, else the worst element, both values and the tolerance. NaN never agrees.
std::string Compare(const Expected& expected, const std::vector<float>& y);

// Runs the layer through the driver; y was poisoned with NaN before, and guards around each row
// are checked.
std::vector<float> RunDriver(const MoeCase& c, const KernelTable& kernel,
                             ExpertActivations activations, int workers);

}  // namespace tandem::test
