// The bytes of a routing trace (routing_trace.h), for its writer and its reader.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

inline constexpr char kTraceMagic[] = "TANDEM\ntrace\n";
inline constexpr uint32_t kTraceVersion = 1;
inline constexpr uint32_t kMaxTraceRows = 1 << 20;  // of a step

// What stands before a block: bytes behind these two, and their XXH32.
struct TraceBlockHeader {
  uint32_t bytes = 0, hash = 0;
};

inline constexpr int64_t kTraceRowBytes = sizeof(uint32_t) + sizeof(Phase);  // sequence, phase

// Of a step's block, behind its header.
inline int64_t TraceStepBytes(const ModelIdentity& model, int64_t rows) {
  const int64_t ids = int64_t{model.moe_layers()} * model.top_k;
  return int64_t{sizeof(uint32_t)} + rows * (kTraceRowBytes + ids * int64_t{sizeof(uint16_t)});
}

// Of the last block: 0 rows, and the number of steps before it.
inline constexpr int64_t kTraceEndBytes = 2 * sizeof(uint32_t);

template <class T>
void Append(std::string& to, const T& value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// REQUIRES: text holds as much at `at`, which moves on.
template <class T>
T TakeAt(const std::string& text, size_t& at) {
  T value{};
  std::memcpy(&value, text.data() + at, sizeof value);
  at += sizeof value;
  return value;
}

}  // namespace tandem
