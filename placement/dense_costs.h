// What the dense side of a step takes, on the CPU (by the machine's curve where there is one for
// this shape) or on the GPU: a product of B rows with W weights takes
// max(bytes(W) / bandwidth, 2 B W / rate). All times are of one layer, in seconds.
#pragma once

#include <cstdint>
#include <optional>

#include "core/model_shape.h"
#include "placement/machine.h"

namespace tandem {

// Seconds, and whether memory or arithmetic sets them.
struct Work {
  double s = 0;
  bool memory_bound = true;
};

class DenseCosts {
 public:
  DenseCosts(const ModelShape& shape, const Machine& machine, int32_t weight_bits, bool gpu);

  // Of so many rows, with next to nothing cached. `prompt`: one slice of a prompt, attention among
  // its own rows included where a curve gives it.
  Work Attention(int64_t rows, bool prompt) const;
  // Attention to `context` cached tokens, of decode rows of as many sequences.
  Work DecodeCache(int64_t rows, int64_t context) const;
  // Attention of a prompt's slice to the `cached` tokens before it, and to itself unless
  // Attention() has that.
  Work PromptCache(int64_t rows, int64_t cached) const;
  Work DenseMlp(int64_t rows) const;
  Work Router(int64_t rows) const;  // before the routed experts can begin
  Work Shared(int64_t rows) const;  // of a curve, router and adding up included
  Work Head(int64_t rows) const;

 private:
  Work Product(double weights, double bytes_per_weight, int64_t rows) const;
  Work Curve(double DenseCurve::Point::*part, int64_t rows) const;
  double Forks(int n) const { return curve_ || gpu_ ? 0 : n * dispatch_s_; }

  const ModelShape shape_;
  const bool gpu_;
  const double weight_bytes_;
  double bytes_per_s_ = 0, flop_per_s_ = 0, dispatch_s_ = 0;
  std::optional<DenseCurve> curve_;
};

// The curve of the host backend that a model of this shape needs.
DenseCurve::Key DenseKeyOf(const ModelShape& shape, int32_t weight_bits);

}  // namespace tandem
