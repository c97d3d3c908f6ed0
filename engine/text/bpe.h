// Byte-pair encoding of one piece (kimi_k26: BPE inside a piece): start from single bytes and keep
// merging the neighbours whose joined bytes have the lowest rank, leftmost first, until no two
// neighbours make a token.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/text/vocabulary.h"

namespace tandem {

// Holds scratch memory: one object per thread, used for many pieces.
class BytePairEncoder {
 public:
  // REQUIRES: the vocabulary holds all 256 bytes and outlives this object.
  explicit BytePairEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // Appends the ids of `piece`. A piece that is a token becomes that token.
  void Encode(std::string_view piece, std::vector<int32_t>& ids);

  // The two ways to merge; Encode() takes the first up to kMaxScanBytes. Public for tests.
  static constexpr size_t kMaxScanBytes = 128;
  void MergeByScan(std::string_view piece, std::vector<int32_t>& ids);  // O(n^2), small constant
  void MergeByHeap(std::string_view piece, std::vector<int32_t>& ids);  // O(n log n)

 private:
  struct Part {
    uint32_t begin;     // offset in the piece
    int32_t rank;       // of this part
    int32_t pair_rank;  // of this part joined with the next; kNoPair if that is no token
  };
  struct Node {  // Part in a linked list, at the index of its first byte
    uint32_t previous, next;
    int32_t rank;
    int32_t pair_rank;
  };

  int32_t PairRank(std::string_view piece, size_t begin, size_t end) const;

  const Vocabulary& vocabulary_;
  std::vector<Part> parts_;
  std::vector<Node> nodes_;
  std::vector<uint64_t> heap_;
};

}  // namespace tandem
