// Tells AddressSanitizer that a stack is left for another. Nothing in other builds.
//
// ThreadSanitizer is not told, so to it the threads of a block are one thread, the one that runs
// them in turn: which is true, and they are ordered. As fibers that it knows, each switch would
// cost it a vector clock over all of them, and a prompt's layer of the hybrid's tests more than 30
// s instead of 1. The price: in its reports the line of an access is right, the callers below may
// be those of another thread of the block.
#pragma once

#include <pthread.h>

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace tandem::emulated {

// A stack as AddressSanitizer knows it.
class SanitizerFiber {
 public:
  // The stack of an OS thread, the calling one.
  void AdoptCurrent() {
#ifdef __SANITIZE_ADDRESS__
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &bottom_, &bytes_);
    pthread_attr_destroy(&attributes);
#endif
  }
  void Adopt([[maybe_unused]] void* bottom, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    bottom_ = bottom, bytes_ = bytes;
#endif
  }

  // Right before this stack is left for `to`, and right after it was come back to.
  [[gnu::always_inline]] void Leave([[maybe_unused]] const SanitizerFiber& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&saved_, to.bottom_, to.bytes_);
#endif
  }
  [[gnu::always_inline]] void Enter() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(saved_, nullptr, nullptr);
#endif
  }
  // Instead of Leave, at the end of what runs on this stack.
  void LeaveForGood([[maybe_unused]] const SanitizerFiber& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, to.bottom_, to.bytes_);
#endif
  }

 private:
#ifdef __SANITIZE_ADDRESS__
  void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* saved_ = nullptr;
#endif
};

}  // namespace tandem::emulated
