// Random tensor bytes by position: the bytes at an offset depend on nothing but key and offset, so
// any thread may make any piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/bf16.h"

namespace tandem {

// What a tensor is filled with.
enum class Fill {
  kNormalBf16,  // N(0, sigma)
  kNormalF32,   // N(0, sigma)
  kNormBf16,    // uniform in [0.75, 1.25]: the weight of an RMSNorm
  kInt4,        // packed nibbles, roughly N(0, kInt4Sigma) around 8
  kInt4Scale,   // BF16, so that nibble * scale has standard deviation sigma
  kFp8,         // E4M3, roughly N(0, kFp8Sigma)
  kFp8Scale,    // F32, so that value * scale has standard deviation sigma
};

// Pieces start and end at multiples of this, except for the end of a tensor.
inline constexpr int64_t kFillAlignBytes = 64;

// Tables of one fill and sigma; immutable, shared by all tensors that need it.
class Filler {
 public:
  Filler(Fill fill, float sigma);
  // Writes bytes [offset, offset + out.size()) of the tensor with this key.
  // REQUIRES: offset % kFillAlignBytes == 0.
  void Write(uint64_t key, int64_t offset, std::span<std::byte> out) const;

 private:
  void WriteBlock(uint64_t key, uint64_t counter, std::byte* out) const;  // 8 bytes

  Fill fill_;
  std::vector<bf16> bf16_table_;           // by 16 random bits
  std::vector<float> float_table_;         // by 16 random bits
  std::array<uint8_t, 256> byte_table_{};  // nibbles or FP8, by 8 random bits
};

// The key of a tensor.
uint64_t TensorKey(uint64_t seed, std::string_view name);

}  // namespace tandem
