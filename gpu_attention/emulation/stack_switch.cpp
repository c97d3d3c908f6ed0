#include "gpu_attention/emulation/stack_switch.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "core/status.h"

asm(R"(
  .text
  .p2align 4
  .globl TandemSwitchStack
  .type TandemSwitchStack, @function
TandemSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size TandemSwitchStack, . - TandemSwitchStack
)");

namespace tandem::emulated {

namespace {
constexpr size_t kGuardBytes = 4096;
}  // namespace

// Six registers, the address that ret goes to, and 0 where a caller's address would be.
void* PrepareStack(std::byte* top, void (*entry)()) {
  uintptr_t words[8] = {0, 0, 0, 0, 0, 0, reinterpret_cast<uintptr_t>(entry), 0};
  return std::memcpy(top - sizeof(words), words, sizeof(words));
}

StackMemory::StackMemory(size_t bytes) : bytes_(bytes + kGuardBytes) {
  void* base = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  TANDEM_CHECK(base != MAP_FAILED, "there is memory for the stacks of emulated threads");
  base_ = static_cast<std::byte*>(base);
  mprotect(base_, kGuardBytes, PROT_NONE);
}
StackMemory::StackMemory(StackMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_) {}
StackMemory::~StackMemory() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

}  // namespace tandem::emulated
