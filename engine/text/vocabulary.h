// The byte strings of a tiktoken vocabulary: rank -> bytes and bytes -> rank. Read-only once built.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  void Reserve(size_t n_tokens, size_t n_bytes);
  // Appends a token; its rank is the number of tokens before it. REQUIRES: `bytes` is not empty.
  void Append(std::string_view bytes);
  // Builds the bytes -> rank side. Returns the rank of a token that repeats an earlier one, kNone
  // if there is none. Call once, after the last Append().
  int32_t BuildIndex();

  int32_t size() const { return static_cast<int32_t>(ends_.size()); }
  size_t longest_bytes() const { return longest_bytes_; }
  std::string_view Bytes(int32_t rank) const {  // REQUIRES: 0 <= rank < size()
    const uint32_t begin = rank == 0 ? 0 : ends_[rank - 1];
    return std::string_view(blob_).substr(begin, ends_[rank] - begin);
  }

  // Rank of exactly these bytes, or kNone. BuildIndex() was called.
  int32_t Find(std::string_view bytes) const;
  int32_t FindByte(uint8_t byte) const { return byte_ranks_[byte]; }
  int32_t FindPair(uint8_t first, uint8_t second) const { return pair_ranks_[first << 8 | second]; }

 private:
  struct Slot {
    uint32_t hash;  // upper half of the 64-bit hash; the lower half chose the slot
    int32_t rank = kNone;
  };

  std::string blob_;  // all tokens, one after another
  std::vector<uint32_t> ends_;
  size_t longest_bytes_ = 0;
  std::vector<Slot> slots_;  // open addressing, a power of two, at most two thirds full
  std::array<int32_t, 256> byte_ranks_{};
  std::vector<int32_t> pair_ranks_;  // [65536], so that merging starts without hashing
};

}  // namespace tandem
