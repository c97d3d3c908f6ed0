#include "gpu_attention/host/packed_matrix.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tandem {
namespace {

constexpr int32_t RoundUp(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

int64_t PanelBytes(WeightFormat format, int32_t padded_cols) {
  switch (format) {
    case WeightFormat::kBf16:
      return int64_t{padded_cols} * kDensePanelRows * 2;
    case WeightFormat::kF32:
      return int64_t{padded_cols} * kDensePanelRows * 4;
    case WeightFormat::kInt8:
      return padded_cols / kScaleGroup * kInt8GroupBytes;
  }
  return 0;
}

float AsFloat(bf16 x) { return ToFloat(x); }
float AsFloat(float x) { return x; }
bf16 AsBf16(bf16 x) { return x; }
bf16 AsBf16(float x) { return ToBf16(x); }

// Smallest BF16 not below x >= 0.
bf16 RoundUpToBf16(float x) {
  bf16 rounded = {static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16)};
  if (ToFloat(rounded) < x) ++rounded.bits;
  return rounded;
}

// One row of one group: 64 pairs, `kDensePanelRows * 2` bytes apart.
void QuantizeRow(const float* values, std::byte* scale_at, std::byte* pairs) {
  // Bits of positive floats order as integers, which even the baseline compares in vectors.
  int32_t max_bits = 0;
  for (int32_t k = 0; k < kScaleGroup; ++k)
    max_bits = std::max(max_bits, std::bit_cast<int32_t>(values[k]) & 0x7fffffff);
  const bf16 scale = RoundUpToBf16(std::bit_cast<float>(max_bits) / 127.0f);
  std::memcpy(scale_at, &scale, 2);
  const float inverse = scale.bits != 0 ? 1.0f / ToFloat(scale) : 0.0f;
  int8_t q[kScaleGroup];
  // Adding 1.5 * 2^23 rounds to the nearest even integer and leaves it in the low bits. The scale
  // was rounded up, so the result is within +-127.
  for (int32_t k = 0; k < kScaleGroup; ++k)
    q[k] =
        static_cast<int8_t>(std::bit_cast<int32_t>(values[k] * inverse + 12582912.0f) - 0x4b400000);
  for (int32_t pair = 0; pair < kScaleGroup / 2; ++pair)
    std::memcpy(pairs + int64_t{pair} * kDensePanelRows * 2, q + pair * 2, 2);
}

}  // namespace

absl::StatusOr<PackedMatrix> PackedMatrix::Allocate(WeightFormat format, int32_t rows, int32_t cols,
                                                    int32_t count) {
  PackedMatrix m;
  m.format_ = format;
  m.rows_ = rows;
  m.cols_ = cols;
  m.padded_cols_ = RoundUp(cols, format == WeightFormat::kInt8 ? kScaleGroup : 2);
  m.panels_ = RoundUp(rows, kDensePanelRows) / kDensePanelRows;
  m.count_ = count;
  m.panel_bytes_ = PanelBytes(format, m.padded_cols_);
  // The kernels prefetch a little past the end, which needs no memory there.
  TANDEM_ASSIGN_OR_RETURN(m.buffer_, NumaBuffer::Allocate(m.size_bytes()));
  return m;
}

template <class T>
void PackedMatrix::PackPanel(const View<const T, 2>& source, int32_t index, int32_t first_row,
                             int32_t panel) {
  const int32_t begin = std::max(first_row, panel * kDensePanelRows);
  const int32_t end = std::min<int32_t>(first_row + source.dim(0), (panel + 1) * kDensePanelRows);
  std::byte* out = const_cast<std::byte*>(this->panel(index, panel));
  const int64_t step = source.stride(1);
  auto from = [&](int32_t row) { return source.data() + (row - first_row) * source.stride(0); };
  if (format_ == WeightFormat::kInt8) {
    for (int32_t col = 0; col < cols_; col += kScaleGroup, out += kInt8GroupBytes) {
      const int32_t n = std::min(kScaleGroup, cols_ - col);
      for (int32_t row = begin; row < end; ++row) {
        float values[kScaleGroup] = {};
        const T* x = from(row) + col * step;
        if (step == 1) {
          for (int32_t k = 0; k < n; ++k) values[k] = AsFloat(x[k]);
        } else {
          for (int32_t k = 0; k < n; ++k) values[k] = AsFloat(x[k * step]);
        }
        const int32_t r = row % kDensePanelRows;
        QuantizeRow(values, out + r * 2, out + kDensePanelRows * 2 + r * 2);
      }
    }
  } else if (format_ == WeightFormat::kBf16) {
    // 64 inputs at a time keep the panel's lines in the first-level cache.
    for (int32_t col = 0; col < cols_; col += 64) {
      const int32_t stop = std::min(cols_, col + 64);
      for (int32_t row = begin; row < end; ++row) {
        const T* x = from(row);
        std::byte* to = out + (row % kDensePanelRows) * 4;
        int32_t k = col;
        for (; k + 2 <= stop; k += 2) {
          const bf16 pair[2] = {AsBf16(x[k * step]), AsBf16(x[(k + 1) * step])};
          std::memcpy(to + int64_t{k} * kDensePanelRows * 2, pair, 4);
        }
        if (k < stop) {
          const bf16 last = AsBf16(x[k * step]);
          std::memcpy(to + int64_t{k} * kDensePanelRows * 2, &last, 2);
        }
      }
    }
  } else {
    for (int32_t row = begin; row < end; ++row) {
      for (int32_t k = 0; k < cols_; ++k) {
        const float value = AsFloat(from(row)[k * step]);
        std::memcpy(out + (int64_t{k} * kDensePanelRows + row % kDensePanelRows) * 4, &value, 4);
      }
    }
  }
}

template <class T>
void PackedMatrix::PackRows(const View<const T, 2>& source, int32_t index, int32_t first_row,
                            WorkerTeam* team) {
  TANDEM_CHECK(index < count_ && first_row + source.dim(0) <= rows_ && source.dim(1) == cols_,
               "a source lies inside the matrix it is packed into");
  if (source.dim(0) == 0) return;
  const int32_t first = first_row / kDensePanelRows;
  const auto last = static_cast<int32_t>((first_row + source.dim(0) - 1) / kDensePanelRows);
  auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p)
      PackPanel(source, index, first_row, first + static_cast<int32_t>(p));
  };
  if (team == nullptr) {
    pack(0, last - first + 1, 0);
  } else {
    team->ParallelFor(last - first + 1, 1, pack);
  }
}

void PackedMatrix::Pack(const View<const bf16, 2>& source, int32_t index, int32_t first_row,
                        WorkerTeam* team) {
  PackRows(source, index, first_row, team);
}

void PackedMatrix::Pack(const View<const float, 2>& source, int32_t index, int32_t first_row,
                        WorkerTeam* team) {
  PackRows(source, index, first_row, team);
}

}  // namespace tandem
