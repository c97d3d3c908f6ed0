// Spans of a step, written as Chrome/Perfetto JSON. Off unless a file is set; then a span costs two
// clock reads and a store into a per-thread buffer.
//
//   { TraceSpan span("attention", layer.value);  ... }
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/status.h"

namespace tandem {

// Process-wide. Start() before the threads that trace; Stop() after they rest.
class Trace {
 public:
  static void Start();
  static bool enabled() { return enabled_.load(std::memory_order_relaxed); }
  // Stops recording and writes all spans to `path` (open in ui.perfetto.dev).
  static absl::Status StopAndWrite(const std::string& path);

 private:
  friend class TraceSpan;
  static int64_t NowNs();
  static void Record(const char* name, int64_t argument, int64_t begin_ns, int64_t end_ns);
  static std::atomic<bool> enabled_;
};

// `name` must be a string literal; `argument` is shown with it (a layer, a token count).
class TraceSpan {
 public:
  explicit TraceSpan(const char* name, int64_t argument = 0)
      : name_(name), argument_(argument), begin_ns_(Trace::enabled() ? Trace::NowNs() : 0) {}
  ~TraceSpan() {
    if (begin_ns_ != 0) Trace::Record(name_, argument_, begin_ns_, Trace::NowNs());
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  const char* name_;
  int64_t argument_;
  int64_t begin_ns_;
};

}  // namespace tandem
