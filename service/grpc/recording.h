// A recording of a running engine: the observer that counts, and where asked for writes a trace to
// a temporary file. All methods but the observer's, which are the engine's, on one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "core/status.h"
#include "engine/engine.h"
#include "placement/profile_recorder.h"
#include "placement/routing_trace.h"

namespace tandem {

struct RecordingOptions {
  std::string label;  // of requests without one
  bool with_trace = false;
  int64_t max_trace_tokens = 1'000'000;
};

struct RecordingStatus {
  double seconds = 0;
  int64_t tokens = 0, trace_tokens = 0, dropped_steps = 0;
};

class Recording {
 public:
  // Begins. `engine` outlives it. Errors: FAILED_PRECONDITION (the model has no experts), those of
  // the trace's file and of Engine::Observe().
  static absl::StatusOr<std::unique_ptr<Recording>> Start(Engine& engine,
                                                          const RecordingOptions& options);
  ~Recording();  // ends it, and removes the trace

  RecordingStatus status() const;
  // Ends it; then the files can be taken. Errors: UNAVAILABLE; FAILED_PRECONDITION (nothing was
  // recorded); those of the trace's file.
  absl::Status Stop();
  std::string ProfileBytes() const;
  const std::string& trace_path() const { return trace_path_; }  // "" without one

 private:
  class Observer;
  Recording(Engine& engine, std::string trace_path, std::shared_ptr<Observer> observer);

  Engine& engine_;
  const std::string trace_path_;
  const std::shared_ptr<Observer> observer_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  bool observing_ = true;
};

}  // namespace tandem
