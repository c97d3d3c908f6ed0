// Random tensors of tests.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/bf16.h"

namespace tandem {

// Normal numbers; the seed is fixed by the caller.
inline std::vector<float> RandomFloats(size_t n, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

inline std::vector<bf16> RandomBf16(size_t n, uint32_t seed, float deviation = 1.0f) {
  const std::vector<float> floats = RandomFloats(n, seed, deviation);
  std::vector<bf16> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = ToBf16(floats[i]);
  return values;
}

}  // namespace tandem
