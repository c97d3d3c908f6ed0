#include "cpu_experts/self_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_format.h"
#include "cpu_experts/activation.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {
namespace {

constexpr int kHidden = 96, kIntermediate = 64, kTokens = 9;
constexpr ExpertLayout kLayout = {kHidden, kIntermediate};

// A small generator of its own: the known answer may not depend on a library's random numbers.
struct Noise {
  uint32_t state = 12345;
  uint32_t Bits() { return state = state * 1664525u + 1013904223u; }
  float Unit() { return static_cast<float>(Bits() >> 8) * 0x1p-23f - 1.0f; }  // [-1, 1)
};

// One expert of random nibbles and positive scales.
void FillPanels(int64_t count, int64_t inputs, Noise& noise, uint8_t* panel) {
  for (int64_t p = 0; p < count; ++p, panel += PanelBytes(inputs)) {
    for (int64_t i = 0; i < PanelScaleOffset(inputs); ++i)
      panel[i] = static_cast<uint8_t>(noise.Bits() >> 24);
    auto* scales = reinterpret_cast<bf16*>(panel + PanelScaleOffset(inputs));
    for (int64_t i = 0; i < inputs / kGroupInputs * kPanelRows; ++i)
      scales[i] = ToBf16(0.02f + 0.01f * noise.Unit());
  }
}

struct Case {
  std::vector<uint8_t> storage;
  const uint8_t* expert;
  std::vector<bf16> x;
};

Case MakeCase() {
  Case c;
  Noise noise;
  c.storage.resize(kLayout.bytes() + kPanelAlignment);
  const auto address = reinterpret_cast<uintptr_t>(c.storage.data());
  uint8_t* expert = c.storage.data() + (kPanelAlignment - address % kPanelAlignment);
  FillPanels(2 * PanelCount(kIntermediate), kHidden, noise, expert);
  FillPanels(PanelCount(kHidden), kIntermediate, noise, expert + kLayout.down_panel(0));
  c.expert = expert;
  for (int i = 0; i < kTokens * kHidden; ++i) c.x.push_back(ToBf16(noise.Unit()));
  return c;
}

// y [tokens, hidden] of the first `tokens` tokens.
std::vector<float> Run(const KernelTable& kernel, int planes, const Case& c, int tokens) {
  const int64_t x_bytes = RowBytes(kHidden, planes), h_bytes = RowBytes(kIntermediate, planes);
  std::vector<uint8_t> x(tokens * x_bytes), h(tokens * h_bytes);
  std::vector<uint8_t> scratch_storage(kScratchBytes + 64);
  auto address = reinterpret_cast<uintptr_t>(scratch_storage.data());
  uint8_t* scratch = scratch_storage.data() + (64 - address % 64);
  std::vector<float> y(tokens * kHidden, 0.0f), weights(tokens, 0.5f);
  std::vector<const uint8_t*> x_rows, h_in;
  std::vector<uint8_t*> h_rows;
  std::vector<float*> y_rows;
  for (int t = 0; t < tokens; ++t) {
    kernel.quantize(&c.x[t * kHidden], kHidden / 32, planes, &x[t * x_bytes]);
    x_rows.push_back(&x[t * x_bytes]);
    h_rows.push_back(&h[t * h_bytes]);
    h_in.push_back(&h[t * h_bytes]);
    y_rows.push_back(&y[t * kHidden]);
  }
  GateUpArgs gate_up;
  gate_up.panels = c.expert;
  gate_up.panel_bytes = kLayout.gate_up_panel_bytes();
  gate_up.groups = kHidden / 32;
  gate_up.column_groups = kIntermediate / kColumnGroup;
  gate_up.planes = planes;
  gate_up.tokens = tokens;
  gate_up.x = x_rows.data();
  gate_up.h = h_rows.data();
  gate_up.scratch = scratch;
  kernel.gate_up(gate_up);
  DownArgs down;
  down.panels = c.expert + kLayout.down_panel(0);
  down.panel_bytes = kLayout.down_panel_bytes();
  down.groups = kIntermediate / 32;
  down.n_panels = kHidden / 16;
  down.planes = planes;
  down.tokens = tokens;
  down.h = h_in.data();
  down.weights = weights.data();
  down.y = y_rows.data();
  down.scratch = scratch;
  kernel.down(down);
  return y;
}

}  // namespace

absl::Status SelfCheck(const KernelTable& kernel, int planes) {
  const Case c = MakeCase();
  const std::vector<float> expected = Run(kReferenceTable, planes, c, kTokens);
  float largest = 0.0f;
  for (float v : expected) largest = std::max(largest, std::fabs(v));
  // A rounding of h to the other neighbour moves y by up to a code's step; see activation.h.
  const float tolerance = largest * (planes == 1 ? 1.0f / 127 : 1e-4f);
  for (int tokens : {1, 3, kTokens}) {
    const std::vector<float> got = Run(kernel, planes, c, tokens);
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::fabs(got[i] - expected[i]) <= tolerance) continue;
      return absl::InternalError(absl::StrFormat(
          "kernel %s fails its self-check (%d tokens, %d planes): element %d is %g, expected %g",
          kernel.name, tokens, planes, static_cast<int>(i), got[i], expected[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace tandem
