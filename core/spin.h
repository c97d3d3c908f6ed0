// Waiting for something that another running thread is about to do.
#pragma once

#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tandem {

inline void CpuPause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Returns when done() does, which must be soon. Gives the core away after so many tries, in case
// the thread waited for needs it.
template <class Done>
void SpinUntil(int spins_before_yield, Done done) {
  for (int spins = 1; !done(); ++spins) {
    if (spins % spins_before_yield == 0) std::this_thread::yield();
    CpuPause();
  }
}

}  // namespace tandem
