// Stand-in for libnuma's system calls; never reached (numa.h).
#pragma once

enum { MPOL_BIND = 2 };
inline long mbind(void*, unsigned long, int, const unsigned long*, unsigned long, unsigned) {
  return 0;
}
