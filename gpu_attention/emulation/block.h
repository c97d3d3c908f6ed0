// One block of an emulated kernel: a fiber per CUDA thread, all on one OS thread. A fiber runs
// until it waits for others of its warp or block, then hands over to the next one that can go on;
// nothing is ever preempted. When no thread can go on, those that wait do so for ever: divergence.
#pragma once

#include <atomic>
#include <boost/context/fiber.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/status.h"
#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/emulation/async_copies.h"
#include "gpu_attention/emulation/sanitizer_fiber.h"
#include "gpu_attention/emulation/thread_context.h"

namespace tandem::emulated {

// What the blocks of one launch share.
struct Grid {
  const char* name;
  const LaunchShape& shape;
  const std::function<void()>& thread;
  std::atomic<bool> faulted = false;
  std::mutex mutex = {};
  absl::Status status = {};  // under the mutex
};

// Reused from block to block by one OS thread.
class Block {
 public:
  Block();
  ~Block();
  Block(const Block&) = delete;

  void Run(Grid& grid, dim3 index);

  // For the running thread of the block (thread_context.h).
  void WaitForBlock(Where where);
  void WaitForWarp(const char* name, void* argument, void (*combine)(void* const*), Where where);
  void Yield();
  std::byte* SharedMemory(size_t offset, size_t bytes);
  AsyncCopies& copies() { return running_->copies; }
  [[noreturn]] void Fault(const std::string& what);

 private:
  struct Thread {
    boost::context::fiber fiber;  // where to go on; empty while it runs
    AsyncCopies copies;
    SanitizerFiber sanitizer;
    int index = 0;
  };
  struct Warp {
    uint32_t ready = 0xffffffffu;  // lanes that can go on, the running one included
    uint32_t at_block = 0;         // lanes in WaitForBlock
    uint32_t at_warp = 0;          // lanes in WaitForWarp
    const char* name = nullptr;
    Where where;
    void* arguments[32];
  };

  void Prepare(int threads);
  boost::context::fiber MakeFiber(Thread& thread);
  void RunThread(Thread& thread);
  Thread& Next();
  Thread& AfterDivergence();
  void SwitchTo(Thread& thread);
  void RecordFault(const std::string& what);
  std::string DescribeWaiting() const;

  Grid* grid_ = nullptr;
  Thread outside_;               // the OS thread's own stack, from where Run was called
  std::vector<Thread> threads_;  // as many as a block can have; the first have fibers
  int fibers_ = 0;
  std::vector<Warp> warps_;  // of this block
  Thread* running_ = nullptr;
  Thread* left_ = nullptr;  // ran before the running one
  int at_block_ = 0;
  Where block_where_;
  bool faulted_ = false;
  bool ending_ = false;
  std::byte* shared_ = nullptr;
  size_t shared_bytes_ = 0;
};

}  // namespace tandem::emulated
