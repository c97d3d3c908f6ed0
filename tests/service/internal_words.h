// What no client may read in an error: it would tell where the server lies, on disk or in memory.
#pragma once

#include <string>

namespace tandem {

// The first such word in `text`; "" if there is none.
inline std::string InternalWordIn(const std::string& text) {
  for (const char* word : {"0x", "/home/", "/root/", "/tmp/", "/usr/", "/etc/", "/proc/", "/dev/",
                           ".cpp", ".cc:", ".h:", "std::", "absl::", "nlohmann", "json.exception",
                           "basic_string", "terminate", "errno", "ptr"}) {
    if (text.find(word) != std::string::npos) return word;
  }
  return "";
}

}  // namespace tandem
