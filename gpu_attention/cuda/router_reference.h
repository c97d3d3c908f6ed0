// What Router is held to (router.h): plain loops, double sums.
#pragma once

#include <cstdint>

#include "core/bf16.h"

namespace tandem {

struct RouterReferenceArgs {
  int32_t tokens = 0;
  int32_t hidden = 0;
  int32_t experts = 0;
  int32_t top_k = 0;
  int32_t expert_groups = 1;
  int32_t top_k_groups = 1;
  bool norm_top_k = true;
  double routed_scaling = 1;
  const bf16* x = nullptr;        // [tokens, hidden]
  const float* gate = nullptr;    // [experts, hidden]
  const float* bias = nullptr;    // [experts]
  double* score = nullptr;        // [tokens, experts]: s
  double* choice = nullptr;       // [tokens, experts]: c, minus infinity for who is out of the race
  int32_t* expert_ids = nullptr;  // [tokens, top_k]
  double* weights = nullptr;      // [tokens, top_k]
};
void RouterReference(const RouterReferenceArgs& args);

}  // namespace tandem
