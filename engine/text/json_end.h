// Tells, byte by byte, where the JSON object or list that a text begins with ends. Only brackets
// and strings count; whether the rest is JSON is not asked.
#pragma once

#include <cstdint>

namespace tandem {

class JsonEnd {
 public:
  void Push(char c) {
    if (reached_) return;
    if (in_string_) {
      const bool escaped = escape_;
      escape_ = c == '\\' && !escaped;
      if (c == '"' && !escaped) in_string_ = false;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && depth_ > 0) {
      reached_ = --depth_ == 0;
    }
  }
  bool reached() const { return reached_; }
  int64_t depth() const { return depth_; }  // brackets that are open

 private:
  int64_t depth_ = 0;
  bool in_string_ = false, escape_ = false, reached_ = false;
};

}  // namespace tandem
