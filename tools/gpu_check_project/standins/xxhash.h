// Stand-in for xxHash. Not its function: good for blocks that the same program wrote, and none are
// written here.
#pragma once

#include <cstddef>
#include <cstdint>

struct XXH128_hash_t {
  uint64_t low64, high64;
};

inline uint64_t XXH3_64bits(const void* data, size_t size) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3u;
  return hash;
}
inline XXH128_hash_t XXH3_128bits(const void* data, size_t size) {
  const uint64_t hash = XXH3_64bits(data, size);
  return {hash, ~hash};
}
