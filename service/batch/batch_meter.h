// What the engine does while a batch runs: rates, batch sizes, where the time goes, which experts
// are used. Of whatever the engine computes meanwhile, so of the batch alone if it is alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"
#include "placement/profile_recorder.h"

namespace tandem {

// Shares of a whole, weighed: what is at or below which p percent of it lies.
struct Spread {
  double mean = 0, p10 = 0, p50 = 0, p90 = 0, max = 0;
};

struct BatchMeasures {
  double wall_s = 0;
  StepTotals prefill, decode;  // steps of these kinds
  int64_t mixed_steps = 0;     // of both at once
  double mixed_s = 0;          // about: from the layers' recent times
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  int64_t preemptions = 0, evicted_pages = 0;
  Spread sequences;  // of a decode step
  // Of the steps' seconds, about: in attention and other dense work, and in the CPU's experts.
  double dense_s = 0, experts_s = 0;
  std::vector<double> coverage;  // by MoE layer: share of its experts that were used; or empty

  double steps_s() const { return prefill.seconds + decode.seconds + mixed_s; }
  double outside_s() const { return wall_s - steps_s(); }  // the engine computed nothing
};

// Thread-safe.
class BatchMeter {
 public:
  // From now on. `coverage`: counts experts, which costs the engine up to a percent.
  BatchMeter(Engine& engine, bool coverage);
  ~BatchMeter();

  // Some times a second, so that batch sizes and shares of time are seen as they change.
  void Sample();
  // Until now.
  BatchMeasures Measure();

 private:
  struct Sized {
    double sequences;
    int64_t steps;
  };
  void AddTimes(const EngineStats& now, const LayerTimes& times);
  Spread SpreadOfSequences() const;

  Engine& engine_;
  std::shared_ptr<ProfileRecorder> recorder_;
  const std::chrono::steady_clock::time_point start_;
  const EngineStats first_;
  std::mutex mutex_;
  EngineStats last_;
  std::vector<Sized> sized_;
  double dense_s_ = 0, experts_s_ = 0, mixed_s_ = 0;
};

}  // namespace tandem
