// Made-up profiles whose experts are used like Zipf's law, differently by label, layer and time.
#pragma once

#include "placement/expert_profile.h"

namespace tandem {

struct SampleOptions {
  int layers = 61, dense_layers = 1, experts = 384, top_k = 8;
  std::vector<std::string> labels = {"code", "chat", "mathematics"};
  int64_t prefill_tokens = 3000, decode_tokens = 800;  // of a label's training; a third is held out
  bool held_out = true;
  uint32_t seed = 1;
};

// Self-consistent: of a layer the hits sum up to tokens * top_k, windows cover all decoded tokens.
ExpertProfile MakeSampleProfile(const SampleOptions& options);

}  // namespace tandem
