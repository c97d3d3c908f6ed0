// Lets a model read and answer prompts while it is observed: an expert profile, and perhaps a
// trace.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "placement/expert_profile.h"
#include "tools/prompt_file.h"

namespace tandem {

struct RecordOptions {
  std::string label;        // of prompts that have none of their own
  int32_t generate = 64;    // tokens per answer, at most
  double temperature = 0;   // 0: greedy
  uint64_t seed = 1;        // of prompt 0; the next one has the next
  bool ignore_eos = false;  // answers of full length
  int32_t in_flight = 8;    // prompts at a time
  std::string trace_path;   // "": no trace
  std::function<void(int64_t done, int64_t prompts)> on_progress = nullptr;
};

// Blocks until all prompts are answered. A prompt that the engine refuses, or that fails, ends it.
// Errors: the engine's, the trace file's.
absl::StatusOr<ExpertProfile> RecordPrompts(Engine& engine, const std::vector<Prompt>& prompts,
                                            const RecordOptions& options);

}  // namespace tandem
