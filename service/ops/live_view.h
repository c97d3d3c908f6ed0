// What the server is doing right now, as JSON for the page: queue, batch, pages, rates, layers,
// experts. No prompts, no answers.
//
// The engine is asked to tell its routing only while somebody looks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <thread>

#include "engine/engine.h"
#include "service/ops/heat_map.h"

namespace tandem {

struct LiveViewOptions {
  std::chrono::milliseconds patience{30'000};   // after the last look, the engine stops telling
  std::chrono::milliseconds half_life{20'000};  // of an expert's hits
};

// Thread-safe.
class LiveView {
 public:
  // `engine` must outlive it.
  LiveView(Engine& engine, std::string model_name, std::function<int32_t()> open_requests,
           const LiveViewOptions& options = {});
  ~LiveView();

  // Does not wait for the engine. `heat`: whose experts' use is shown; nullopt: nobody's.
  nlohmann::ordered_json Look(std::optional<Phase> heat);

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point when;
    EngineStats stats;
  };
  void NoteLook();
  void Watch();
  nlohmann::ordered_json Rates(const EngineStats& now);

  Engine& engine_;
  const std::string model_name_;
  const std::function<int32_t()> open_requests_;
  const LiveViewOptions options_;
  const Clock::time_point start_ = Clock::now();
  const std::shared_ptr<HeatMap> heat_map_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Clock::time_point> last_look_;
  std::deque<Sample> samples_;  // of the last seconds, for rates
  bool closing_ = false;
  std::thread watcher_;  // begins and stops the observing, which takes until a step's end
};

}  // namespace tandem
