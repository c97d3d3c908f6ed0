// Stand-in for libnuma: memory is left where the system puts it.
#pragma once

inline int numa_available() { return -1; }
inline int numa_max_node() { return 0; }
