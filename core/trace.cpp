#include "core/trace.h"

#include <chrono>
#include <fstream>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

struct Event {
  const char* name;
  int64_t argument, begin_ns, end_ns;
};

struct ThreadEvents {
  int thread;
  std::mutex mutex;  // uncontended but while writing the file
  std::vector<Event> events;
};

struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<ThreadEvents>> threads;
};

Registry& GetRegistry() {
  static Registry* const registry = new Registry;
  return *registry;
}

ThreadEvents& MyEvents() {
  thread_local std::shared_ptr<ThreadEvents> mine = [] {
    Registry& registry = GetRegistry();
    std::lock_guard lock(registry.mutex);
    auto events = std::make_shared<ThreadEvents>();
    events->thread = static_cast<int>(registry.threads.size());
    registry.threads.push_back(events);
    return events;
  }();
  return *mine;
}

}  // namespace

std::atomic<bool> Trace::enabled_{false};

int64_t Trace::NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Trace::Start() { enabled_.store(true, std::memory_order_relaxed); }

void Trace::Record(const char* name, int64_t argument, int64_t begin_ns, int64_t end_ns) {
  ThreadEvents& mine = MyEvents();
  std::lock_guard lock(mine.mutex);
  mine.events.push_back({name, argument, begin_ns, end_ns});
}

absl::Status Trace::StopAndWrite(const std::string& path) {
  enabled_.store(false, std::memory_order_relaxed);
  std::ofstream out(path);
  out << "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  const char* separator = "\n";
  Registry& registry = GetRegistry();
  std::lock_guard lock(registry.mutex);
  for (const auto& thread : registry.threads) {
    std::lock_guard thread_lock(thread->mutex);
    for (const Event& e : thread->events) {
      out << separator
          << absl::StrCat(
                 "{\"name\":\"", e.name, "\",\"ph\":\"X\",\"pid\":1,\"tid\":", thread->thread,
                 ",\"ts\":", e.begin_ns / 1000, ".", absl::Dec(e.begin_ns % 1000, absl::kZeroPad3),
                 ",\"dur\":", (e.end_ns - e.begin_ns) / 1000, ".",
                 absl::Dec((e.end_ns - e.begin_ns) % 1000, absl::kZeroPad3),
                 ",\"args\":{\"arg\":", e.argument, "}}");
      separator = ",\n";
    }
    thread->events.clear();
  }
  out << "\n]}\n";
  out.close();
  if (!out) return absl::UnavailableError(absl::StrCat("cannot write the trace to ", path));
  return absl::OkStatus();
}

}  // namespace tandem
