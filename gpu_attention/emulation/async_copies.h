// One thread's asynchronous copies. They take place when the thread waits for them, and until then
// the destination holds 0xff bytes (NaN), so a kernel that forgets to wait reads garbage.
#pragma once

#include <cstddef>
#include <cstring>
#include <vector>

namespace tandem::emulated {

class AsyncCopies {
 public:
  void Begin(void* to, const void* from) {
    std::memset(to, 0xff, kBytes);
    copies_.push_back({to, from, committed_});
  }
  void Commit() { ++committed_; }
  // All but the last `pending` groups take place.
  void Wait(int pending) {
    while (first_ < copies_.size() && copies_[first_].group + pending < committed_) {
      const Copy& copy = copies_[first_++];
      if (copy.from == nullptr) {
        std::memset(copy.to, 0, kBytes);
      } else {
        std::memcpy(copy.to, copy.from, kBytes);
      }
    }
    if (first_ == copies_.size()) {
      copies_.clear();
      first_ = 0;
    }
  }
  void Clear() { copies_.clear(), first_ = 0, committed_ = 0; }

 private:
  static constexpr size_t kBytes = 16;
  struct Copy {
    void* to;
    const void* from;
    int group;
  };
  std::vector<Copy> copies_;
  size_t first_ = 0;   // that has not taken place
  int committed_ = 0;  // groups
};

}  // namespace tandem::emulated
