// Copies of pages of the latent cache, all layers of each, in host memory beside the device that
// holds the cache.
//
// Of one backend, which must outlive it; used by the thread that runs that backend's steps, between
// two of them. Copies take their place among the steps: what is saved is what the steps before left
// in the page, and the steps after find what was loaded. A copy that fails is an error of the next
// step.
#pragma once

#include <cstdint>

namespace tandem {

class PageStore {
 public:
  virtual ~PageStore() = default;

  virtual int32_t places() const = 0;
  virtual int64_t bytes() const = 0;
  virtual void Save(int32_t page, int32_t place) = 0;
  // REQUIRES: something was saved there.
  virtual void Load(int32_t place, int32_t page) = 0;
};

}  // namespace tandem
