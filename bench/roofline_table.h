// The loops that a roofline is measured with, one table per instruction set.
#pragma once

#include <cstdint>

#include "core/cpu_features.h"

namespace tandem {

struct RooflineTable {
  const char* name;
  bool CpuFeatures::*required;
  // Reads everything; returns something that depends on it. `bytes` is a multiple of 1024. May be
  // null: then another table's serves.
  uint64_t (*read)(const void* data, int64_t bytes);
  // Executes `rounds` rounds; returns the operations done.
  int64_t (*int8_dots)(int64_t rounds);
  int64_t (*fmas)(int64_t rounds);  // may be null
};

extern constinit const RooflineTable kAvx2RooflineTable;
extern constinit const RooflineTable kAvxVnniRooflineTable;
extern constinit const RooflineTable kAvx512VnniRooflineTable;
// Tiles are not for vectors of activations: apart from the others.
extern constinit const RooflineTable kAmxRooflineTable;

}  // namespace tandem
