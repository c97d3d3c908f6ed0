#include "gpu_attention/emulation/block.h"

#include <bit>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gpu_attention/emulation/emulated_device.h"
#include "gpu_attention/emulation/fault.h"

namespace tandem::emulated {
namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr uint32_t kAllLanes = 0xffffffffu;
constinit thread_local Block* current_block = nullptr;

// Thrown to unwind a thread of a block that has faulted.
struct Unwind {};

Block& CurrentBlock() {
  TANDEM_CHECK(current_block != nullptr, "device functions are called by kernels only");
  return *current_block;
}

std::string Place(const Where& where) {
  const std::string file = where.file_name();
  return absl::StrCat(file.substr(file.rfind('/') + 1), ":", where.line());
}

bool SamePlace(const Where& a, const Where& b) {
  if (std::bit_cast<uintptr_t>(a) == std::bit_cast<uintptr_t>(b)) return true;  // as a rule
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

// "0-3, 7"
std::string Lanes(uint32_t mask) {
  std::string text;
  for (int lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    int last = lane;
    while (last < 31 && (mask >> (last + 1) & 1)) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ", ", lane);
    if (last > lane) absl::StrAppend(&text, "-", last);
    lane = last;
  }
  return text;
}

}  // namespace

Block::Block()
    : threads_(1024), shared_(static_cast<std::byte*>(std::aligned_alloc(1024, kMostSharedBytes))) {
  outside_.index = -1;
  outside_.sanitizer.AdoptCurrent();
}

// Fibers run to their end, as AddressSanitizer would not see Boost unwind them.
Block::~Block() {
  ending_ = true;
  running_ = &outside_;
  for (int i = 0; i < fibers_; ++i) SwitchTo(threads_[i]);
  std::free(shared_);
}

// What a switch is made of is inlined into the functions that wait: a return right behind a switch
// is one that the processor cannot predict.

// Who goes on when the running thread cannot: the warp's next lane, or the next warp's.
[[gnu::always_inline]] inline Block::Thread& Block::Next() {
  const int n_warps = static_cast<int>(warps_.size());
  const int warp = running_->index / 32, lane = running_->index % 32;
  if (const uint32_t ready = warps_[warp].ready; ready != 0) {
    // As a rule, so that the processor guesses it instead of computing it first.
    if (lane < 31 && (ready >> (lane + 1) & 1)) return running_[1];
    const uint32_t later = ready & ~(kAllLanes >> (31 - lane));
    return threads_[warp * 32 + std::countr_zero(later != 0 ? later : ready)];
  }
  // Lanes that wait for their warp now do so for ever.
  if (warps_[warp].at_warp != 0) return AfterDivergence();
  for (int i = 1; i < n_warps; ++i) {
    const int other = (warp + i) % n_warps;
    if (const uint32_t ready = warps_[other].ready; ready != 0) {
      return threads_[other * 32 + std::countr_zero(ready)];
    }
  }
  return at_block_ != 0 ? AfterDivergence() : outside_;
}

[[gnu::always_inline]] inline void Block::SwitchTo(Thread& thread) {
  if (&thread == running_) return;
  SanitizerFiber& sanitizer = running_->sanitizer;
  left_ = running_;
  running_ = &thread;
  threadIdx.x = static_cast<uint32_t>(thread.index);
  sanitizer.Leave(thread.sanitizer);
  boost::context::fiber from = std::move(thread.fiber).resume();
  sanitizer.Enter();
  left_->fiber = std::move(from);
}

void Block::Run(Grid& grid, dim3 index) {
  grid_ = &grid;
  faulted_ = false;
  at_block_ = 0;
  const int threads = static_cast<int>(grid.shape.threads);
  Prepare(threads);
  warps_.assign(threads / 32, Warp());
  shared_bytes_ = grid.shape.shared_bytes;
  if (shared_bytes_ != 0) std::memset(shared_, 0xff, shared_bytes_);
  blockIdx = index;
  blockDim = {grid.shape.threads, 1, 1};
  gridDim = {grid.shape.blocks_x, grid.shape.blocks_y, grid.shape.blocks_z};
  current_block = this;
  running_ = &outside_;
  SwitchTo(threads_[0]);
  current_block = nullptr;
}

// Made once; each runs a thread of every block.
void Block::Prepare(int threads) {
  for (; fibers_ < threads; ++fibers_) {
    threads_[fibers_].index = fibers_;
    threads_[fibers_].fiber = MakeFiber(threads_[fibers_]);
  }
}

boost::context::fiber Block::MakeFiber(Thread& thread) {
  boost::context::protected_fixedsize_stack stacks(kStackBytes);
  const boost::context::stack_context stack = stacks.allocate();
  thread.sanitizer.Adopt(static_cast<std::byte*>(stack.sp) - stack.size, stack.size);
  // Stacks at equal distances would fight for the same lines of the cache. Boost rounds to 256.
  const size_t unused = thread.index % 16 * 256;
  const boost::context::preallocated used(static_cast<std::byte*>(stack.sp) - unused,
                                          stack.size - unused, stack);
  const auto run = [this, &thread](boost::context::fiber&& from) {
    thread.sanitizer.Enter();
    left_->fiber = std::move(from);
    while (!ending_) {
      RunThread(thread);
      warps_[thread.index / 32].ready &= ~(1u << thread.index % 32);
      SwitchTo(Next());
    }
    thread.sanitizer.LeaveForGood(outside_.sanitizer);
    running_ = left_ = &outside_;
    return std::move(outside_.fiber);
  };
  return {std::allocator_arg, used, stacks, run};
}

void Block::RunThread(Thread& thread) {
  thread.copies.Clear();
  if (faulted_) return;
  try {
    grid_->thread();
  } catch (const Unwind&) {
  }
}

// Lets those that wait go on, to unwind.
[[gnu::cold, gnu::noinline]] Block::Thread& Block::AfterDivergence() {
  RecordFault(DescribeWaiting());
  return Next();
}

[[gnu::always_inline]] inline void Block::WaitForBlock(Where where) {
  if (at_block_ == 0) {
    block_where_ = where;
  } else if (!SamePlace(where, block_where_)) {
    Fault(absl::StrCat("barrier divergence: __syncthreads at ", Place(where),
                       " while others wait in the one at ", Place(block_where_)));
  }
  Warp& warp = warps_[running_->index / 32];
  const uint32_t lane = 1u << running_->index % 32;
  if (++at_block_ == static_cast<int>(grid_->shape.threads)) {
    for (Warp& other : warps_) other.ready = kAllLanes, other.at_block = 0;
    at_block_ = 0;
    return;
  }
  warp.ready &= ~lane;
  warp.at_block |= lane;
  SwitchTo(Next());
  if (faulted_) throw Unwind();
}

[[gnu::always_inline]] inline void Block::WaitForWarp(const char* name, void* argument,
                                                      void (*combine)(void* const*), Where where) {
  Warp& warp = warps_[running_->index / 32];
  const int lane = running_->index % 32;
  if (warp.at_warp == 0) {
    warp.name = name;
    warp.where = where;
  } else if (warp.name != name || !SamePlace(warp.where, where)) {
    Fault(absl::StrCat("warp divergence: ", name, " at ", Place(where), " while lanes ",
                       Lanes(warp.at_warp), " wait in ", warp.name, " at ", Place(warp.where)));
  }
  warp.arguments[lane] = argument;
  warp.at_warp |= 1u << lane;
  if (warp.at_warp == kAllLanes) {
    combine(warp.arguments);
    warp.at_warp = 0;
    warp.ready = kAllLanes;
    return;
  }
  warp.ready &= ~(1u << lane);
  SwitchTo(Next());
  if (faulted_) throw Unwind();
}

void Block::Yield() {
  if (grid_->faulted.load(std::memory_order_relaxed)) {
    if (!faulted_) RecordFault("");
    throw Unwind();
  }
  // Round robin over the warps, too: the next lane may be the one that waits for another warp.
  const int n_warps = static_cast<int>(warps_.size());
  for (int i = 1; i <= 32 * n_warps; ++i) {
    const int index = (running_->index + i) % (32 * n_warps);
    if (warps_[index / 32].ready >> index % 32 & 1) {
      if (index <= running_->index) std::this_thread::yield();
      SwitchTo(threads_[index]);
      break;
    }
  }
  if (faulted_) throw Unwind();
}

std::byte* Block::SharedMemory(size_t offset, size_t bytes) {
  if (offset + bytes > shared_bytes_) {
    Fault(absl::StrCat("shared memory: ", bytes, " bytes from ", offset, " on, but the launch has ",
                       shared_bytes_));
  }
  return shared_ + offset;
}

void Block::Fault(const std::string& what) {
  RecordFault(what);
  throw Unwind();
}

void Block::RecordFault(const std::string& what) {
  faulted_ = true;
  for (Warp& warp : warps_) {
    warp.ready |= warp.at_warp | warp.at_block;
    warp.at_warp = warp.at_block = 0;
  }
  at_block_ = 0;
  const std::lock_guard lock(grid_->mutex);
  if (!grid_->status.ok()) return;
  grid_->status = absl::InternalError(absl::StrCat("kernel ", grid_->name, ", block (", blockIdx.x,
                                                   ", ", blockIdx.y, ", ", blockIdx.z, "), thread ",
                                                   running_->index, ": ", what));
  grid_->faulted = true;
}

std::string Block::DescribeWaiting() const {
  std::string text = "divergence, nobody can go on:";
  for (size_t w = 0; w < warps_.size(); ++w) {
    const Warp& warp = warps_[w];
    const auto append = [&](uint32_t lanes, const std::string& what) {
      if (lanes != 0) absl::StrAppend(&text, " lanes ", Lanes(lanes), " of warp ", w, what, ";");
    };
    if (warp.at_warp != 0) {
      append(warp.at_warp, absl::StrCat(" wait in ", warp.name, " at ", Place(warp.where)));
    }
    append(warp.at_block, absl::StrCat(" wait in __syncthreads at ", Place(block_where_)));
    append(~(warp.at_warp | warp.at_block | warp.ready), " have ended");
  }
  text.pop_back();
  return text;
}

void WaitForBlock(Where where) { CurrentBlock().WaitForBlock(where); }
void WaitForWarp(const char* name, void* argument, void (*combine)(void* const*), Where where) {
  CurrentBlock().WaitForWarp(name, argument, combine, where);
}
void YieldThread() { CurrentBlock().Yield(); }
std::byte* SharedMemory(size_t offset, size_t bytes) {
  return CurrentBlock().SharedMemory(offset, bytes);
}
void BeginCopy16(void* to, const void* from) { CurrentBlock().copies().Begin(to, from); }
void CommitCopies() { CurrentBlock().copies().Commit(); }
void WaitForCopies(int pending_groups) { CurrentBlock().copies().Wait(pending_groups); }

void Fault(const std::string& what) {
  if (current_block != nullptr) current_block->Fault(what);
  std::fprintf(stderr, "emulated GPU, host code: %s\n", what.c_str());
  std::abort();
}

void AccessFault(const char* space, const void* address, size_t bytes, size_t alignment,
                 const void* begin, size_t size) {
  const auto offset = reinterpret_cast<intptr_t>(address) - reinterpret_cast<intptr_t>(begin);
  if (address == nullptr || begin == nullptr) {
    Fault(absl::StrCat(space, " memory: access by a null pointer"));
  }
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
    Fault(absl::StrCat(space, " memory: ", bytes, " bytes at byte ", offset, " are not aligned to ",
                       alignment));
  }
  Fault(absl::StrCat(space, " memory: ", bytes, " bytes at byte ", offset, " of ", size));
}

}  // namespace tandem::emulated
