// Watches a text, byte by byte, for a marker spelt out in it.
#pragma once

#include <cstddef>
#include <string_view>

namespace tandem {

class MarkerText {
 public:
  // `marker` outlives this, and its first byte comes in it once: what begins anew then begins where
  // the match broke.
  explicit constexpr MarkerText(std::string_view marker) : marker_(marker) {}

  // Whether `c` goes on what has come of the marker, or begins it. If not, nothing changes.
  bool Take(char c) {
    if (complete() || c != marker_[matched_]) return false;
    ++matched_;
    return true;
  }
  bool complete() const { return matched_ == marker_.size(); }
  bool begun() const { return matched_ > 0; }
  std::string_view matched() const { return marker_.substr(0, matched_); }
  void Reset() { matched_ = 0; }

 private:
  std::string_view marker_;
  size_t matched_ = 0;
};

}  // namespace tandem
