// Which pages of the latent cache are in use, and by how many holders.
//
// Only numbers are kept here; the bytes lie in the dense backend. A page has a reference count so
// that sequences can hold a common prefix together. A kept page (the prefix cache keeps them) is
// not empty when its last holder leaves, but idle, until it is dropped. Used by the engine's thread
// alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpu_attention/step_batch.h"

namespace tandem {

// Pages that hold `tokens` tokens.
constexpr int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

class KvPages {
 public:
  explicit KvPages(int64_t total);

  // Appends `count` empty pages with one reference each to `pages`; all or none, false when none.
  bool Allocate(int64_t count, std::vector<int32_t>& pages);
  // One more holder for each page. REQUIRES: all are in use or idle.
  void Share(std::span<const int32_t> pages);
  // One holder less; a page without holders is empty again, or idle if it is kept. Empties `pages`.
  void Release(std::vector<int32_t>& pages);
  // REQUIRES: in use and not kept.
  void Keep(int32_t page);
  // Keeps it no longer: it is empty now, or will be when its last holder leaves. REQUIRES: kept.
  void Drop(int32_t page);

  int64_t total() const { return static_cast<int64_t>(references_.size()); }
  int64_t empty() const { return static_cast<int64_t>(empty_.size()); }
  int64_t idle() const { return idle_; }
  int64_t free() const { return empty() + idle_; }  // what can be had by dropping the idle ones
  int64_t used() const { return total() - free(); }
  int32_t references(int32_t page) const { return references_[page]; }

 private:
  std::vector<int32_t> references_;  // by page
  std::vector<bool> kept_;           // by page
  std::vector<int32_t> empty_;       // a stack: a page just freed is reused first, it is warm
  int64_t idle_ = 0;                 // kept pages without holders
};

}  // namespace tandem
