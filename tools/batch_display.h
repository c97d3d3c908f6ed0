// A batch's progress while it runs: on a terminal a bar that redraws itself, elsewhere a line now
// and then, for programs JSON lines on stdout. And it samples what the engine does.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "service/batch/batch_job.h"
#include "service/batch/batch_meter.h"

namespace tandem {

// "[#####-----] 50 % 500/1000, 3 failed, 120.0 tok/s, 64 in flight, 2 min 05 s left"
std::string ProgressLine(const BatchProgress& progress, int bar_width);

// From the constructor to Stop(), on a thread of its own. All outlive it.
class BatchDisplay {
 public:
  enum class As { kNothing, kText, kJson };
  BatchDisplay(const BatchJob& job, BatchMeter& meter, As as);
  ~BatchDisplay() { Stop(); }
  void Stop();  // shows the last state

 private:
  void Run();
  void Show(bool last);

  const BatchJob& job_;
  BatchMeter& meter_;
  const As as_;
  const bool is_terminal_;
  std::string shown_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tandem
