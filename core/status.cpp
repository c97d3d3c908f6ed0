#include "core/status.h"

#include <cstdio>
#include <cstdlib>

namespace tandem::internal {

void CheckFailed(const char* file, int line, const char* what, const char* meaning) {
  std::fprintf(stderr, "%s:%d: broken promise: %s (%s)\n", file, line, meaning, what);
  std::abort();
}

}  // namespace tandem::internal
