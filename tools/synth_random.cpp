#include "tools/synth_random.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/checkpoint/convert.h"

namespace tandem {
namespace {

constexpr int kDraws = 65536;       // distinct values of a 16-bit draw
constexpr double kInt4Sigma = 3.3;  // of a nibble; absmax of 32 draws then lies near 7
constexpr double kFp8Sigma = 64.0;  // the largest draws then lie near 300, below E4M3's 448

// SplitMix64's finaliser over a Weyl sequence (Steele et al., "Fast splittable pseudorandom number
// generators", 2014): random access by counter.
uint64_t Draw(uint64_t key, uint64_t counter) {
  uint64_t z = key + counter * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// z with P(N(0,1) < z) = p, by Newton steps on erfc; exact enough for tables.
double NormalQuantile(double p) {
  if (p > 0.5) return -NormalQuantile(1 - p);
  double z = -std::sqrt(std::max(0.0, -2 * std::log(p)));  // starts beyond the answer
  for (int step = 0; step < 50; ++step) {
    const double error = 0.5 * std::erfc(-z / std::sqrt(2.0)) - p;
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::acos(-1.0));
    const double move = error / std::max(density, 1e-300);
    z -= std::clamp(move, -0.5, 0.5);
    if (std::abs(move) < 1e-12) break;
  }
  return z;
}

double NormalDraw(int draw, int n_draws) { return NormalQuantile((draw + 0.5) / n_draws); }

// Scales vary from group to group by a quarter around their mean.
float ScaleDraw(int draw, double mean) {
  return static_cast<float>(mean * (0.75 + 0.5 * (draw + 0.5) / kDraws));
}

uint8_t NearestFp8(float value) {
  int best = 0;
  for (int bits = 0; bits < 256; ++bits) {
    const float candidate = Fp8E4M3ToFloat(static_cast<uint8_t>(bits));
    if (std::abs(candidate - value) < std::abs(Fp8E4M3ToFloat(static_cast<uint8_t>(best)) - value))
      best = bits;
  }
  return static_cast<uint8_t>(best);
}

}  // namespace

Filler::Filler(Fill fill, float sigma) : fill_(fill) {
  const auto fill_bf16 = [&](auto value) {
    bf16_table_.resize(kDraws);
    for (int d = 0; d < kDraws; ++d) bf16_table_[d] = ToBf16(static_cast<float>(value(d)));
  };
  const auto fill_float = [&](auto value) {
    float_table_.resize(kDraws);
    for (int d = 0; d < kDraws; ++d) float_table_[d] = static_cast<float>(value(d));
  };
  switch (fill) {
    case Fill::kNormalBf16:
      fill_bf16([&](int d) { return sigma * NormalDraw(d, kDraws); });
      break;
    case Fill::kNormalF32:
      fill_float([&](int d) { return sigma * NormalDraw(d, kDraws); });
      break;
    case Fill::kNormBf16:
      fill_bf16([](int d) { return ScaleDraw(d, 1.0); });
      break;
    case Fill::kInt4Scale:
      fill_bf16([&](int d) { return ScaleDraw(d, sigma / kInt4Sigma); });
      break;
    case Fill::kFp8Scale:
      fill_float([&](int d) { return ScaleDraw(d, sigma / kFp8Sigma); });
      break;
    case Fill::kInt4:
      for (int d = 0; d < 256; ++d) {
        const double q = std::nearbyint(kInt4Sigma * NormalDraw(d, 256));
        byte_table_[d] = static_cast<uint8_t>(std::clamp(q, -8.0, 7.0) + 8);
      }
      break;
    case Fill::kFp8:
      for (int d = 0; d < 256; ++d) {
        byte_table_[d] = NearestFp8(static_cast<float>(kFp8Sigma * NormalDraw(d, 256)));
      }
      break;
  }
}

// Eight bytes from one draw (two for nibbles and floats, which need more random bits per byte).
void Filler::WriteBlock(uint64_t key, uint64_t counter, std::byte* out) const {
  if (fill_ == Fill::kInt4) {
    uint64_t word = 0;
    for (int half = 0; half < 2; ++half) {
      uint64_t bits = Draw(key, 2 * counter + half);
      for (int n = 0; n < 8; ++n, bits >>= 8) {
        word |= static_cast<uint64_t>(byte_table_[bits & 255]) << (32 * half + 4 * n);
      }
    }
    std::memcpy(out, &word, 8);
    return;
  }
  uint64_t bits = Draw(key, counter);
  if (fill_ == Fill::kFp8) {
    for (int n = 0; n < 8; ++n, bits >>= 8) out[n] = std::byte{byte_table_[bits & 255]};
  } else if (!bf16_table_.empty()) {
    for (int n = 0; n < 4; ++n, bits >>= 16)
      std::memcpy(out + 2 * n, &bf16_table_[bits & 65535], 2);
  } else {
    for (int n = 0; n < 2; ++n, bits >>= 16) {
      std::memcpy(out + 4 * n, &float_table_[bits & 65535], 4);
    }
  }
}

void Filler::Write(uint64_t key, int64_t offset, std::span<std::byte> out) const {
  uint64_t counter = static_cast<uint64_t>(offset) / 8;
  size_t at = 0;
  for (; at + 8 <= out.size(); at += 8) WriteBlock(key, counter++, out.data() + at);
  if (at == out.size()) return;
  std::byte last[8];
  WriteBlock(key, counter, last);
  std::memcpy(out.data() + at, last, out.size() - at);
}

uint64_t TensorKey(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a, then mixed with the seed
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return Draw(hash, seed + 1);
}

}  // namespace tandem
