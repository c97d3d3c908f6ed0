// The specification of the kernels: scalar loops, never tuned, runs everywhere. A group of 32 is
// summed in double and then added to the F32 sum, so cutting the groups changes nothing.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu_experts/activation.h"
#include "cpu_experts/kernel_table.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {
namespace {

constexpr int kRows = static_cast<int>(kPanelRows);

int Weight(const uint8_t* panel, int group, int row, int input) {
  const int half = input % 16;
  const uint8_t byte = panel[kGroupBytes * group + 64 * (half / 4) + 4 * row + half % 4];
  return (input < 16 ? byte & 0x0f : byte >> 4) - 8;
}

float Scale(const uint8_t* panel, int groups, int group, int row) {
  const auto* scales = reinterpret_cast<const bf16*>(panel + kGroupBytes * groups);
  return ToFloat(scales[group * kRows + row]);
}

// The two ways to read a record, and what a weight is beside it.
template <int kPlanes>
struct Codes {
  static constexpr int64_t kRecordBytes = RecordBytes(kPlanes);
  static double Weight(int value, float scale) { return static_cast<double>(value) * scale; }
  // scale * (128 q[0] + q[1]), or scale * q[0].
  static double Activation(const uint8_t* record, int input) {
    float scale;
    std::memcpy(&scale, record, sizeof(scale));
    int code = 0;
    for (int p = 0; p < kPlanes; ++p)
      code =
          code * (1 << kPlaneShift) + static_cast<int8_t>(record[CodesOffset(kPlanes, p) + input]);
    return static_cast<double>(scale) * code;
  }
  static void QuantizeGroup(const float* values, uint8_t* record) {
    float largest = 0.0f;
    for (int i = 0; i < kActivationGroup; ++i) largest = std::max(largest, std::fabs(values[i]));
    const float limit = kLargestCode[kPlanes - 1];
    const float inverse = largest < kSmallestActivation ? 0.0f : limit / largest;
    const float scale = largest < kSmallestActivation ? 0.0f : largest / limit;
    std::memcpy(record, &scale, sizeof(scale));

    int32_t sums[kMaxPlanes] = {};
    for (int i = 0; i < kActivationGroup; ++i) {
      const int code = static_cast<int>(std::nearbyint(values[i] * inverse));
      const int high = kPlanes == 1 ? code : (code + 64) >> kPlaneShift;
      const int parts[kMaxPlanes] = {high, code - high * (1 << kPlaneShift)};
      for (int p = 0; p < kPlanes; ++p) {
        record[CodesOffset(kPlanes, p) + i] = static_cast<uint8_t>(parts[p]);
        sums[p] += parts[p];
      }
    }
    for (int p = 0; p < kPlanes; ++p) {
      const int32_t correction = -8 * sums[p];
      std::memcpy(record + CorrectionOffset(p), &correction, sizeof(correction));
    }
  }
};

struct Bf16Values {
  static constexpr int64_t kRecordBytes = kBf16RecordBytes;
  static double Weight(int value, float scale) {
    return ToFloat(ToBf16(static_cast<float>(value) * scale));  // the product is exact
  }
  static double Activation(const uint8_t* record, int input) {
    return ToFloat(reinterpret_cast<const bf16*>(record)[input]);
  }
  static void QuantizeGroup(const float* values, uint8_t* record) {
    for (int i = 0; i < kActivationGroup; ++i)
      reinterpret_cast<bf16*>(record)[i] = ToBf16(values[i]);
  }
};

template <class Mode>
void Quantize(const bf16* x, int32_t groups, uint8_t* records) {
  for (int g = 0; g < groups; ++g) {
    float values[kActivationGroup];
    for (int i = 0; i < kActivationGroup; ++i) values[i] = ToFloat(x[g * kActivationGroup + i]);
    Mode::QuantizeGroup(values, records + g * Mode::kRecordBytes);
  }
}

template <class Mode>
double GroupDot(const uint8_t* panel, int groups, int group, int row, const uint8_t* x) {
  const float scale = Scale(panel, groups, group, row);
  const uint8_t* record = x + group * Mode::kRecordBytes;
  double sum = 0.0;
  for (int i = 0; i < kActivationGroup; ++i)
    sum += Mode::Weight(Weight(panel, group, row, i), scale) * Mode::Activation(record, i);
  return sum;
}

template <class Mode>
void Dot(const DotArgs& args) {
  for (int t = 0; t < args.tokens; ++t) {
    for (int i = 0; i < args.n_panels * kRows; ++i) {
      const uint8_t* panel = args.panels + i / kRows * args.panel_bytes;
      float* out = args.sums + t * kSumsStride + i;
      float sum = args.first_group == 0 ? 0.0f : *out;
      for (int g = args.first_group; g < args.first_group + args.n_groups; ++g)
        sum = static_cast<float>(sum + GroupDot<Mode>(panel, args.groups, g, i % kRows, args.x[t]));
      *out = sum;
    }
  }
}

template <class Mode>
void SiluMul(const float* sums, int32_t tokens, int32_t group, uint8_t* const* h) {
  for (int t = 0; t < tokens; ++t) {
    float values[kColumnGroup];
    for (int i = 0; i < kColumnGroup; ++i) {
      const float* gate = sums + t * kSumsStride + 2 * kRows * (i / kRows) + i % kRows;
      const double g = gate[0], u = gate[kRows];
      values[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * u);
    }
    Mode::QuantizeGroup(values, h[t] + group * Mode::kRecordBytes);
  }
}

void AddWeighted(const AddWeightedArgs& args) {
  for (int t = 0; t < args.tokens; ++t) {
    for (int i = 0; i < args.rows; ++i) {
      float& y = args.y[t][args.first_row + i];
      y = static_cast<float>(y +
                             static_cast<double>(args.weights[t]) * args.sums[t * kSumsStride + i]);
    }
  }
}

template <class Mode>
constexpr ModeKernels kMode = {Mode::kRecordBytes, Quantize<Mode>, Dot<Mode>, SiluMul<Mode>,
                               kNeverEvenlySpaced};

}  // namespace

constinit const KernelTable kReferenceTable = {
    "reference", {}, {&kMode<Codes<1>>, &kMode<Codes<2>>, &kMode<Bf16Values>}, AddWeighted};

}  // namespace tandem
