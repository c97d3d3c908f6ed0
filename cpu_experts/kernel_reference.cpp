// The specification of the kernels: scalar loops, double sums, never tuned. Runs everywhere.
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

double Scale(const uint8_t* panel, int groups, int group, int row) {
  const auto* scales = reinterpret_cast<const bf16*>(panel + kGroupBytes * groups);
  return ToFloat(scales[group * kRows + row]);
}

// scale * (128 q[0] + q[1]), or scale * q[0].
double Activation(const uint8_t* record, int planes, int input) {
  float scale;
  std::memcpy(&scale, record, sizeof(scale));
  int code = 0;
  for (int p = 0; p < planes; ++p)
    code = code * (1 << kPlaneShift) + static_cast<int8_t>(record[CodesOffset(planes, p) + input]);
  return static_cast<double>(scale) * code;
}

double Dot(const uint8_t* panel, int groups, int row, const uint8_t* x, int planes) {
  double sum = 0.0;
  for (int g = 0; g < groups; ++g) {
    const uint8_t* record = x + g * RecordBytes(planes);
    for (int i = 0; i < kActivationGroup; ++i)
      sum +=
          Weight(panel, g, row, i) * Scale(panel, groups, g, row) * Activation(record, planes, i);
  }
  return sum;
}

void QuantizeGroup(const float* values, int planes, uint8_t* record) {
  float largest = 0.0f;
  for (int i = 0; i < kActivationGroup; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float limit = kLargestCode[planes - 1];
  const float inverse = largest < kSmallestActivation ? 0.0f : limit / largest;
  const float scale = largest < kSmallestActivation ? 0.0f : largest / limit;
  std::memcpy(record, &scale, sizeof(scale));

  int32_t sums[kMaxPlanes] = {};
  for (int i = 0; i < kActivationGroup; ++i) {
    const int code = static_cast<int>(std::nearbyint(values[i] * inverse));
    const int high = planes == 1 ? code : (code + 64) >> kPlaneShift;
    const int parts[kMaxPlanes] = {high, code - high * (1 << kPlaneShift)};
    for (int p = 0; p < planes; ++p) {
      record[CodesOffset(planes, p) + i] = static_cast<uint8_t>(parts[p]);
      sums[p] += parts[p];
    }
  }
  for (int p = 0; p < planes; ++p) {
    const int32_t correction = -8 * sums[p];
    std::memcpy(record + CorrectionOffset(p), &correction, sizeof(correction));
  }
}

void Quantize(const bf16* x, int32_t groups, int32_t planes, uint8_t* records) {
  for (int g = 0; g < groups; ++g) {
    float values[kActivationGroup];
    for (int i = 0; i < kActivationGroup; ++i) values[i] = ToFloat(x[g * kActivationGroup + i]);
    QuantizeGroup(values, planes, records + g * RecordBytes(planes));
  }
}

void GateUp(const GateUpArgs& args) {
  for (int t = 0; t < args.tokens; ++t) {
    for (int c = 0; c < args.column_groups; ++c) {
      float values[kColumnGroup];
      for (int i = 0; i < kColumnGroup; ++i) {
        const uint8_t* gate = args.panels + (4 * c + 2 * (i / kRows)) * args.panel_bytes;
        const uint8_t* up = gate + args.panel_bytes;
        const double g = Dot(gate, args.groups, i % kRows, args.x[t], args.planes);
        const double u = Dot(up, args.groups, i % kRows, args.x[t], args.planes);
        values[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * u);
      }
      QuantizeGroup(values, args.planes,
                    args.h[t] + (args.first_group + c) * RecordBytes(args.planes));
    }
  }
}

void Down(const DownArgs& args) {
  for (int t = 0; t < args.tokens; ++t) {
    for (int i = 0; i < args.n_panels * kRows; ++i) {
      const uint8_t* panel = args.panels + i / kRows * args.panel_bytes;
      const double sum = Dot(panel, args.groups, i % kRows, args.h[t], args.planes);
      args.y[t][args.first_panel * kRows + i] += static_cast<float>(args.weights[t] * sum);
    }
  }
}

}  // namespace

constinit const KernelTable kReferenceTable = {"reference", nullptr, Quantize, GateUp, Down};

}  // namespace tandem
