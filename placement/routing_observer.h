// Who wants to know what the router decided: the profile's recorder, the trace's writer, the
// adapter of the hot set. The engine calls it on its own thread, in this order, for every step:
//   BeginStep;  per MoE layer, once for each part of the step's rows: Routed;  EndStep.
// A step that failed has no EndStep(); the next BeginStep() drops what it left.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/ids.h"
#include "core/tensor.h"

namespace tandem {

enum class Phase : uint8_t { kPrefill = 0, kDecode = 1 };
inline constexpr int kPhases = 2;

// A row of a step.
struct RoutedRow {
  uint64_t sequence = 0;   // requests are numbered as they come, from 0
  std::string_view label;  // of the request; "" if it has none
  Phase phase = Phase::kPrefill;
};

class RoutingObserver {
 public:
  virtual ~RoutingObserver() = default;

  // The views last until EndStep().
  virtual void BeginStep(std::span<const RoutedRow> rows) = 0;
  // expert_ids, weights [rows of the part, top_k]; the part begins at row `first_row` of the step.
  // An expert that lies on the GPU appears as ~id (core/routed_tokens.h).
  virtual void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                      View<const float, 2> weights) = 0;
  virtual void EndStep() = 0;
};

}  // namespace tandem
