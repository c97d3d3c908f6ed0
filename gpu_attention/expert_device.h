// Routed experts on a device with memory of its own: those that stay there (hot) and those whose
// bytes are sent over for one step of many tokens (streamed). The bytes are the CPU's own panels
// (core/sharded_layout.h), never repacked. Part of a DenseBackend; same thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/routed_tokens.h"
#include "core/sharded_layout.h"
#include "core/status.h"

namespace tandem {

// A cold expert `in` takes the place of a hot one of the same layer.
struct HotReplacement {
  LayerId layer;
  ExpertId out, in;
  bool operator==(const HotReplacement&) const = default;
};
struct FinishedReplacement {
  HotReplacement what;
  absl::Status status;  // not OK: nothing has changed
  double seconds = 0;   // that the copy took, beside the steps
};

class ExpertDevice {
 public:
  virtual ~ExpertDevice() = default;

  // How many experts of all layers can be hot at once.
  virtual int32_t hot_capacity() const = 0;
  // Whether ComputeExperts() takes experts that are not hot.
  virtual bool streams() const = 0;
  virtual bool IsHot(LayerId layer, ExpertId expert) const = 0;
  // Between steps: makes an expert hot, the next step finds it so. With `instead_of`, in the place
  // of a hot expert of the same layer. The bytes are copied before the call returns. Errors:
  // INVALID_ARGUMENT (no such expert, already hot, `instead_of` not hot), RESOURCE_EXHAUSTED (no
  // place left).
  virtual absl::Status MakeHot(LayerId layer, ExpertId expert, const ExpertShards& bytes,
                               const ExpertId* instead_of = nullptr) = 0;
  // Reads a hot expert's bytes back, e.g. because RAM does not have them. Spans as above.
  virtual absl::Status ReadHot(LayerId layer, ExpertId expert,
                               const std::vector<std::span<std::byte>>& bytes) = 0;

  // Replacing without waiting, for as many experts at a time as there are spare places.
  // BeginReplace() lets `bytes` be copied into one while steps run, and the outgoing expert's bytes
  // to `read_back` if that is not empty; both memories must stay as they are until
  // FinishReplaces() names the replacement. Errors: INVALID_ARGUMENT as MakeHot(),
  // RESOURCE_EXHAUSTED (no spare place left).
  virtual int32_t spare_places() const { return 0; }
  virtual absl::Status BeginReplace(const HotReplacement&, const ExpertShards& /*bytes*/,
                                    const std::vector<std::span<std::byte>>& /*read_back*/) {
    return absl::ResourceExhaustedError("this device has no spare place");
  }
  // Between steps: what is copied completely takes effect, the next step finds it so. Does not wait
  // for the rest.
  virtual std::vector<FinishedReplacement> FinishReplaces() { return {}; }

  // Whether hot experts of the running step's parts are computed by SharedExperts(), few rows at a
  // time. If not, ComputeExperts() has to name them.
  virtual bool computes_hot_itself() const = 0;

  struct Work {
    ExpertId expert;
    const ExpertShards*
        bytes;  // null: it is hot. Else valid until Logits() or the next BeginStep()
  };
  // Between Routed() and AddExperts(): puts these experts of the part's rows into the device's
  // queue, which fetches one group of them while it computes another, in this order.
  virtual absl::Status ComputeExperts(LayerId layer, int part, const RoutedTokens& routed,
                                      std::span<const Work> work) = 0;

  // Page-locks memory that streamed experts come from, so that sending runs beside computing. An
  // error only means that it will be slower.
  virtual absl::Status PinHostMemory(std::span<const std::byte> memory) = 0;
};

}  // namespace tandem
