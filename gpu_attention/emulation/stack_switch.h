// Switching from one stack to another within an OS thread. x86-64 only.
#pragma once

#include <cstddef>

namespace tandem::emulated {

// Saves the caller's callee-saved registers on its stack and the stack pointer in *from, and goes
// on at `to`, which another switch or PrepareStack has stored. It ends in a ret, which goes where
// the processor expects it as long as threads wait in the same places: 70 to 100 M switches a
// second on one core, where a switch that ends in a jump (Boost.Context's) allowed 37 M.
extern "C" void TandemSwitchStack(void** from, void* to);

// What to switch to for entry() to be called on the stack that ends at `top`, aligned to 16.
// `entry` must not return, nor throw.
void* PrepareStack(std::byte* top, void (*entry)());

// Memory for stacks, each with a page below it that nobody may touch.
class StackMemory {
 public:
  explicit StackMemory(size_t bytes);
  StackMemory(StackMemory&&) noexcept;
  ~StackMemory();
  std::byte* top() const { return base_ + bytes_; }

 private:
  std::byte* base_ = nullptr;  // of the guard page
  size_t bytes_ = 0;           // with it
};

}  // namespace tandem::emulated
