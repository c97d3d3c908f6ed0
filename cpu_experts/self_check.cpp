#include "cpu_experts/self_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_format.h"
#include "cpu_experts/experts.h"
#include "cpu_experts/panel16g32.h"

namespace tandem {
namespace {

constexpr int kHidden = 96, kIntermediate = 64, kTokens = 18;
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

// Rows of records, one after the other.
struct Records {
  int64_t stride;
  std::vector<uint8_t> bytes;
  std::vector<uint8_t*> rows;

  Records(const ModeKernels& mode, int64_t inputs, int tokens)
      : stride(mode.RowBytes(inputs)), bytes(tokens * stride) {
    for (int t = 0; t < tokens; ++t) rows.push_back(&bytes[t * stride]);
  }
};

// y [tokens, hidden] of the first `tokens` tokens.
std::vector<float> Run(const KernelTable& kernel, const ModeKernels& mode, const Case& c,
                       int tokens) {
  Records x(mode, kHidden, tokens), h(mode, kIntermediate, tokens);
  for (int t = 0; t < tokens; ++t)
    mode.quantize(&c.x[t * kHidden], kHidden / kGroupInputs, x.rows[t]);
  std::vector<uint8_t> storage(kSumsBytes + kScratchBytes + kPanelAlignment);
  const auto address = reinterpret_cast<uintptr_t>(storage.data());
  uint8_t* aligned = storage.data() + (kPanelAlignment - address % kPanelAlignment);

  DotArgs dot;
  dot.tokens = tokens;
  dot.sums = reinterpret_cast<float*>(aligned);
  dot.scratch = aligned + kSumsBytes;
  auto dot_panels = [&](int64_t offset, int64_t panel_bytes, int panels, int64_t inputs,
                        const Records& rows) {
    dot.panels = c.expert + offset;
    dot.panel_bytes = panel_bytes;
    dot.n_panels = panels;
    dot.groups = static_cast<int32_t>(inputs / kGroupInputs);
    dot.x = rows.rows.data();
    dot.x_stride = rows.stride;
    // In two parts: the sums of the first are continued.
    dot.first_group = 0;
    dot.n_groups = 1;
    mode.dot(dot);
    dot.first_group = 1;
    dot.n_groups = dot.groups - 1;
    mode.dot(dot);
  };
  for (int group = 0; group < kIntermediate / kColumnGroup; ++group) {
    dot_panels(kLayout.gate_panel(2 * group), kLayout.gate_up_panel_bytes(), 4, kHidden, x);
    mode.silu_mul(dot.sums, tokens, group, h.rows.data());
  }
  std::vector<float> y(tokens * kHidden, 0.0f), weights(tokens, 0.5f);
  std::vector<float*> y_rows;
  for (int t = 0; t < tokens; ++t) y_rows.push_back(&y[t * kHidden]);
  for (int panel = 0; panel < PanelCount(kHidden); panel += 2) {
    dot_panels(kLayout.down_panel(panel), kLayout.down_panel_bytes(), 2, kIntermediate, h);
    kernel.add_weighted({dot.sums, tokens, 2 * static_cast<int>(kPanelRows), weights.data(),
                         y_rows.data(), panel * kPanelRows});
  }
  return y;
}

// How far a kernel may be off, as a fraction of the largest element: a value of h rounded to the
// other neighbour moves y by up to a step; see activation.h.
float Tolerance(ExpertActivations activations) {
  switch (activations) {
    case ExpertActivations::kInt8:
      return 1.0f / 127;
    case ExpertActivations::kInt8x2:
      return 1e-4f;
    case ExpertActivations::kBf16:
      return 1.0f / 128;
  }
  return 0.0f;
}

absl::Status CheckMode(const KernelTable& kernel, ExpertActivations activations, const Case& c) {
  const ModeKernels& mode = *kernel.mode(activations);
  const std::vector<float> expected =
      Run(kReferenceTable, *kReferenceTable.mode(activations), c, kTokens);
  float largest = 0.0f;
  for (float v : expected) largest = std::max(largest, std::fabs(v));
  const float tolerance = largest * Tolerance(activations);
  for (int tokens : {1, 3, kTokens}) {
    const std::vector<float> got = Run(kernel, mode, c, tokens);
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::fabs(got[i] - expected[i]) <= tolerance) continue;
      return absl::InternalError(absl::StrFormat(
          "kernel %s fails its self-check (%d tokens, %s): element %d is %g, expected %g",
          kernel.name, tokens, NameOf(activations), static_cast<int>(i), got[i], expected[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SelfCheck(const KernelTable& kernel) {
  const Case c = MakeCase();
  for (int i = 0; i < kActivationModes; ++i) {
    const auto activations = static_cast<ExpertActivations>(i);
    if (kernel.mode(activations) == nullptr) continue;
    TANDEM_RETURN_IF_ERROR(CheckMode(kernel, activations, c));
  }
  return absl::OkStatus();
}

}  // namespace tandem
