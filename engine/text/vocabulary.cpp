#include "engine/text/vocabulary.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace tandem {

void Vocabulary::Reserve(size_t n_tokens, size_t n_bytes) {
  ends_.reserve(n_tokens);
  blob_.reserve(n_bytes);
}

void Vocabulary::Append(std::string_view bytes) {
  blob_.append(bytes);
  ends_.push_back(static_cast<uint32_t>(blob_.size()));
  longest_bytes_ = std::max(longest_bytes_, bytes.size());
}

int32_t Vocabulary::BuildIndex() {
  slots_.assign(std::bit_ceil(ends_.size() + ends_.size() / 2 + 1), Slot{});
  byte_ranks_.fill(kNone);
  pair_ranks_.assign(65536, kNone);
  const size_t mask = slots_.size() - 1;
  for (int32_t rank = 0; rank < size(); ++rank) {
    const std::string_view bytes = Bytes(rank);
    if (Find(bytes) != kNone) return rank;
    const uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
    size_t at = hash & mask;
    while (slots_[at].rank != kNone) at = (at + 1) & mask;
    slots_[at] = {static_cast<uint32_t>(hash >> 32), rank};
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    if (bytes.size() == 1) byte_ranks_[byte(0)] = rank;
    if (bytes.size() == 2) pair_ranks_[byte(0) << 8 | byte(1)] = rank;
  }
  return kNone;
}

int32_t Vocabulary::Find(std::string_view bytes) const {
  if (bytes.size() > longest_bytes_) return kNone;
  const uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].rank != kNone; at = (at + 1) & mask) {
    if (slots_[at].hash == tag && Bytes(slots_[at].rank) == bytes) return slots_[at].rank;
  }
  return kNone;
}

}  // namespace tandem
