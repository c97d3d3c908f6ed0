// Tells ThreadSanitizer and AddressSanitizer that a stack is left for another. Nothing in other
// builds.
#pragma once

#include <pthread.h>

#include <cstddef>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace tandem::emulated {

// A stack as the sanitizers know it.
class SanitizerFiber {
 public:
  // The stack of an OS thread, the calling one.
  void AdoptCurrent() {
#ifdef __SANITIZE_THREAD__
    fiber_ = __tsan_get_current_fiber();
#endif
#ifdef __SANITIZE_ADDRESS__
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &bottom_, &bytes_);
    pthread_attr_destroy(&attributes);
#endif
  }
  // A stack of our own, in use until Destroy.
  void Create([[maybe_unused]] void* bottom, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_THREAD__
    fiber_ = __tsan_create_fiber(0);
#endif
#ifdef __SANITIZE_ADDRESS__
    bottom_ = bottom, bytes_ = bytes;
#endif
  }
  void Destroy() {
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(fiber_);
#endif
  }

  // Right before this stack is left for `to`, and right after it was come back to.
  [[gnu::always_inline]] void Leave([[maybe_unused]] const SanitizerFiber& to) {
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to.fiber_, 0);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&saved_, to.bottom_, to.bytes_);
#endif
  }
  [[gnu::always_inline]] void Enter() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(saved_, nullptr, nullptr);
#endif
  }
  // Instead of Leave, at the end of what runs on this stack. Its last returns are still to come, so
  // ThreadSanitizer hears of it when they are over: the other stack's TakeCalls.
  void LeaveForGood([[maybe_unused]] const SanitizerFiber& to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, to.bottom_, to.bytes_);
#endif
  }
  // Calls and returns are this stack's from here on, says ThreadSanitizer's book.
  void TakeCalls() {
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(fiber_, 0);
#endif
  }

 private:
#ifdef __SANITIZE_THREAD__
  void* fiber_ = nullptr;
#endif
#ifdef __SANITIZE_ADDRESS__
  void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* saved_ = nullptr;
#endif
};

}  // namespace tandem::emulated
