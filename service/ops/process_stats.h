// What the operating system says about this process.
#pragma once

#include <cstdint>

namespace tandem {

struct ProcessStats {
  int64_t resident_bytes = 0;          // all of it, mapped weights included
  int64_t resident_private_bytes = 0;  // without what files back
  double cpu_s = 0;                    // user and system, all threads
  int32_t open_files = 0;
  double start_unix_s = 0;
};

// What cannot be read stays 0.
ProcessStats ReadProcessStats();

}  // namespace tandem
