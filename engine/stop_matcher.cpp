#include "engine/stop_matcher.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tandem {

absl::Status StopMatcher::Validate(const std::vector<std::string>& stops) {
  constexpr size_t kMostStops = 64, kLongestStop = 4096;
  if (stops.size() > kMostStops)
    return absl::InvalidArgumentError(absl::StrCat(
        "stop holds ", stops.size(), " strings, at most ", kMostStops, " are allowed"));
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty())
      return absl::InvalidArgumentError(absl::StrCat("stop string ", i, " is empty"));
    if (stops[i].size() > kLongestStop)
      return absl::InvalidArgumentError(absl::StrCat("stop string ", i, " is ", stops[i].size(),
                                                     " bytes long, at most ", kLongestStop,
                                                     " are allowed"));
  }
  return absl::OkStatus();
}

std::string StopMatcher::Push(std::string_view bytes) {
  if (stops_.empty()) return std::string(bytes);
  held_.append(bytes);
  size_t first_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (end < first_end || (end == first_end && stop.size() > matched_.size())) {
      first_end = end;
      matched_ = stop;
    }
  }
  const size_t released = stopped() ? first_end - matched_.size() : held_.size() - HeldBackLength();
  std::string out = held_.substr(0, released);
  held_.erase(0, released);
  return out;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

// Length of the longest end of held_ that is a beginning of a stop string.
size_t StopMatcher::HeldBackLength() const {
  size_t longest = 0;
  for (const std::string& stop : stops_)
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n)
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return longest;
}

}  // namespace tandem
