// OS threads that outlive what they run: a block's stacks belong to the OS thread that made them
// (block.h), and making them anew for every stream would take longer than many a test.
#pragma once

#include <functional>
#include <memory>

namespace tandem::emulated {

class ReusedThread {
 public:
  // Begins run() on a thread that has nothing else to do.
  explicit ReusedThread(std::function<void()> run);
  ReusedThread(const ReusedThread&) = delete;
  // Waits until run() has returned.
  ~ReusedThread();

  struct Worker;

 private:
  std::unique_ptr<Worker> worker_;
};

}  // namespace tandem::emulated
