// Bits of a mask over the vocabulary (engine/token_constraint.h).
#pragma once

#include <cstdint>
#include <span>

namespace tandem {

inline void Allow(std::span<uint32_t> mask, int32_t id) { mask[id / 32] |= 1u << (id % 32); }

inline bool IsAllowed(std::span<const uint32_t> mask, int32_t id) {
  return mask[id / 32] >> (id % 32) & 1;
}

}  // namespace tandem
