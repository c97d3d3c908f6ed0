// Which model a profile, a routing trace or a plan belongs to.
#pragma once

#include <cstdint>
#include <string>

#include "core/model_shape.h"
#include "core/status.h"

namespace tandem {

struct ModelIdentity {
  std::string architecture;  // e.g. "kimi_k25"
  int32_t layers = 0;
  int32_t dense_layers = 0;
  int32_t hidden = 0;
  int32_t experts = 0;
  int32_t top_k = 0;
  int32_t expert_intermediate = 0;
  // Hash of the router's weights (engine/checkpoint/identify_model.h): the same for a checkpoint
  // and its packed image, another after any training. 0: unknown, as only a config was there.
  uint64_t router_hash = 0;

  int32_t moe_layers() const { return layers - dense_layers; }
  bool operator==(const ModelIdentity&) const = default;
};

// Without a hash.
ModelIdentity IdentityOf(const ModelShape& shape, const std::string& architecture);

// "kimi_k25, 61 layers, 384 experts top 8, router 1f3c..."
std::string Describe(const ModelIdentity& identity);

// Whether what was made for `made_for` may be used with `model`: all numbers are equal, and so are
// the hashes where both are known. `what` opens the sentence, e.g. "profile /tmp/a.profile". Error:
// FAILED_PRECONDITION naming the first thing that differs.
absl::Status CheckSameModel(const std::string& what, const ModelIdentity& made_for,
                            const ModelIdentity& model);

}  // namespace tandem
