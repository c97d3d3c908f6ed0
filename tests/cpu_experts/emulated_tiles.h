// AMX tiles as plain code, by the operation sections of Intel's instruction reference: a tile
// policy for cpu_experts/kernel_amx*.h, so that the AMX loops run on any machine.
//
// What the hardware would refuse (#UD) or what no program should rely on fails a check here: tiles
// used without a configuration, shapes that do not match, tiles left behind by a dot call.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/status.h"

namespace tandem::test {

class EmulatedTiles {
 public:
  template <class Config>
  static void Configure(const Config& config) {
    static_assert(sizeof(Config) == 64);
    uint8_t bytes[64];
    std::memcpy(bytes, &config, sizeof(bytes));
    TANDEM_CHECK(bytes[0] == 1 && bytes[1] == 0, "palette 1, start_row 0");
    State& s = state();
    s = {};
    s.configured = true;
    for (int t = 0; t < kTiles; ++t) {
      uint16_t column_bytes;
      std::memcpy(&column_bytes, bytes + 16 + 2 * t, sizeof(column_bytes));
      s.tiles[t].column_bytes = column_bytes;
      s.tiles[t].rows = bytes[48 + t];
      TANDEM_CHECK(s.tiles[t].rows <= 16 && column_bytes <= 64, "a tile is at most 16 x 64 bytes");
      TANDEM_CHECK((s.tiles[t].rows == 0) == (column_bytes == 0), "a tile is used or unused");
    }
  }
  static void Release() { state() = {}; }
  static bool released() { return !state().configured; }

  template <int t>
  static void Zero() {
    std::memset(At(t).bytes, 0, sizeof(At(t).bytes));
  }
  template <int t>
  static void Load(const void* p, ptrdiff_t stride) {
    Tile& tile = At(t);
    std::memset(tile.bytes, 0, sizeof(tile.bytes));
    for (int r = 0; r < tile.rows; ++r)
      std::memcpy(tile.bytes[r], static_cast<const uint8_t*>(p) + r * stride, tile.column_bytes);
  }
  template <int t>
  static void Store(void* p, ptrdiff_t stride) {
    const Tile& tile = At(t);
    for (int r = 0; r < tile.rows; ++r)
      std::memcpy(static_cast<uint8_t*>(p) + r * stride, tile.bytes[r], tile.column_bytes);
  }

  // TDPBSSD: signed bytes, four products at a time, modulo 2^32.
  template <int c, int a, int b>
  static void DotInt8() {
    CheckShapes(At(c), At(a), At(b));
    for (int m = 0; m < At(c).rows; ++m) {
      for (int k = 0; k < At(a).column_bytes / 4; ++k) {
        for (int n = 0; n < At(b).column_bytes / 4; ++n) {
          uint32_t sum = At(c).template get<uint32_t>(m, n);
          for (int i = 0; i < 4; ++i)
            sum += static_cast<uint32_t>(At(a).template get<int8_t>(m, 4 * k + i) *
                                         At(b).template get<int8_t>(k, 4 * n + i));
          At(c).set(m, n, sum);
        }
      }
    }
  }

  // TDPBF16PS: even and odd elements are two chains of FMAs from zero; their sum is added to C.
  // Denormals count as zero on the way in and become zero on the way out.
  template <int c, int a, int b>
  static void DotBf16() {
    CheckShapes(At(c), At(a), At(b));
    for (int m = 0; m < At(c).rows; ++m) {
      for (int n = 0; n < At(b).column_bytes / 4; ++n) {
        float chains[2] = {0.0f, 0.0f};
        for (int k = 0; k < At(a).column_bytes / 4; ++k) {
          for (int i = 0; i < 2; ++i)
            chains[i] =
                Flush(std::fma(At(a).bf16(m, 2 * k + i), At(b).bf16(k, 2 * n + i), chains[i]));
        }
        const float both = Flush(chains[0] + chains[1]);
        At(c).set(m, n, Flush(Flush(At(c).template get<float>(m, n)) + both));
      }
    }
  }

 private:
  static constexpr int kTiles = 8;
  struct Tile {
    int rows = 0, column_bytes = 0;
    uint8_t bytes[16][64];

    template <class T>
    T get(int row, int i) const {
      T value;
      std::memcpy(&value, bytes[row] + i * sizeof(T), sizeof(T));
      return value;
    }
    template <class T>
    void set(int row, int i, T value) {
      std::memcpy(bytes[row] + i * sizeof(T), &value, sizeof(T));
    }
    float bf16(int row, int i) const {
      const uint32_t bits = static_cast<uint32_t>(get<uint16_t>(row, i)) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      return Flush(value);
    }
  };
  struct State {
    bool configured = false;
    Tile tiles[kTiles];
  };

  static float Flush(float x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
  }
  static State& state() {
    thread_local State s;
    return s;
  }
  static Tile& At(int t) {
    TANDEM_CHECK(state().configured && state().tiles[t].rows > 0, "a tile in use is configured");
    return state().tiles[t];
  }
  static void CheckShapes(const Tile& c, const Tile& a, const Tile& b) {
    TANDEM_CHECK(
        c.rows == a.rows && a.column_bytes == 4 * b.rows && c.column_bytes == b.column_bytes,
        "C [m, n] = A [m, k] x B [k, n]");
  }
};

}  // namespace tandem::test
