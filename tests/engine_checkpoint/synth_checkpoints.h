// Synthetic checkpoints of many kinds for the tests, written into a folder of their own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/checkpoint/checkpoint.h"
#include "tests/engine_checkpoint/files.h"
#include "tools/synth.h"

namespace tandem {

// A shape of a few hundred kB, odd where the formats allow it.
inline SynthModel SmallModel() {
  SynthModel model = *FindSynthModel("tiny");
  ModelShape& s = model.shape;
  s.hidden = 96;
  s.layers = 3;
  s.dense_intermediate = 72;
  s.vocab = 613;
  s.experts = 5;
  s.top_k = 2;
  s.expert_intermediate = 64;
  s.q_lora_rank = 40;
  s.kv_lora_rank = 24;
  return model;
}

// Moonlight in small: flat, no query rank, two shared experts, BF16.
inline SynthModel MoonlightLike() {
  SynthModel model = SmallModel();
  model.nested = false;
  model.format = SynthFormat::kBf16Experts;
  model.shape.q_lora_rank = 0;
  model.shape.shared_experts = 2;
  model.shape.yarn = {};
  return model;
}

// DeepSeek-V3 in small: flat, expert groups, FP8 with partial blocks at the edges.
inline SynthModel DeepSeekLike() {
  SynthModel model = SmallModel();
  model.nested = false;
  model.format = SynthFormat::kFp8;
  model.shape.hidden = 160;
  model.shape.dense_intermediate = 200;
  model.shape.experts = 6;
  model.shape.expert_groups = 3;
  model.shape.top_k_groups = 2;
  return model;
}

inline SynthModel TiedModel() {
  SynthModel model = SmallModel();
  model.tied = true;
  return model;
}

inline void WriteCheckpoint(const std::string& dir, const SynthModel& model, uint64_t seed = 1) {
  SynthOptions options;
  options.out_dir = dir;
  options.model = model;
  options.seed = seed;
  options.force = true;
  options.threads = 2;
  options.max_shard_bytes = 200'000;
  const absl::Status status = Synthesize(options);
  ASSERT_TRUE(status.ok()) << status;
}

inline std::unique_ptr<Checkpoint> OpenCheckpoint(const std::string& dir) {
  auto checkpoint = Checkpoint::Open(dir);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}

}  // namespace tandem
