// Both ways to merge against the definition, on random vocabularies and random pieces.
#include "engine/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <random>
#include <set>

namespace tandem {
namespace {

// 256 bytes in random order, then random joins of two earlier tokens, as training makes them.
Vocabulary RandomVocabulary(std::mt19937& random, int n_merges, int n_letters) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(std::string(1, static_cast<char>(byte)));
  std::shuffle(tokens.begin(), tokens.end(), random);
  std::vector<std::string> joinable;
  for (int i = 0; i < n_letters; ++i)
    joinable.push_back(std::string(1, static_cast<char>('a' + i)));
  std::set<std::string> known(tokens.begin(), tokens.end());
  for (int i = 0; i < n_merges; ++i) {
    const std::string joined =
        joinable[random() % joinable.size()] + joinable[random() % joinable.size()];
    if (joined.size() > 40 || !known.insert(joined).second) continue;
    tokens.push_back(joined);
    joinable.push_back(joined);
  }
  Vocabulary vocabulary;
  for (const std::string& token : tokens) vocabulary.Append(token);
  EXPECT_EQ(vocabulary.BuildIndex(), Vocabulary::kNone);
  return vocabulary;
}

std::string RandomPiece(std::mt19937& random, size_t n_bytes, int n_letters) {
  std::string piece;
  while (piece.size() < n_bytes) piece += static_cast<char>('a' + random() % n_letters);
  return piece;
}

// The definition, word for word.
std::vector<int32_t> MergeByDefinition(const Vocabulary& vocabulary, const std::string& piece) {
  std::vector<std::string> parts;
  for (const char c : piece) parts.push_back(std::string(1, c));
  while (true) {
    int32_t best_rank = std::numeric_limits<int32_t>::max();
    size_t best = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const int32_t rank = vocabulary.Find(parts[i] + parts[i + 1]);
      if (rank != Vocabulary::kNone && rank < best_rank) best_rank = rank, best = i;
    }
    if (best_rank == std::numeric_limits<int32_t>::max()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) ids.push_back(vocabulary.Find(part));
  return ids;
}

TEST(BytePairEncoder, BothWaysFollowTheDefinition) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const int n_letters = 1 + round % 6;
    const Vocabulary vocabulary = RandomVocabulary(random, 5 + round * 8, n_letters);
    BytePairEncoder encoder(vocabulary);
    for (const size_t n_bytes : {1, 2, 3, 7, 31, 127, 128, 129, 200}) {
      const std::string piece = RandomPiece(random, n_bytes, n_letters);
      const std::vector<int32_t> expected = MergeByDefinition(vocabulary, piece);
      std::vector<int32_t> by_scan, by_heap;
      encoder.MergeByScan(piece, by_scan);
      encoder.MergeByHeap(piece, by_heap);
      ASSERT_EQ(by_scan, expected) << "round " << round << ", piece " << piece;
      ASSERT_EQ(by_heap, expected) << "round " << round << ", piece " << piece;
    }
  }
}

TEST(BytePairEncoder, APieceThatIsATokenIsThatToken) {
  // "abc" cannot be reached by merging ("ab" and "bc" are no tokens), yet it is found as a whole.
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.Append(std::string(1, static_cast<char>(byte)));
  vocabulary.Append("abc");
  ASSERT_EQ(vocabulary.BuildIndex(), Vocabulary::kNone);
  BytePairEncoder encoder(vocabulary);
  std::vector<int32_t> ids;
  encoder.Encode("abc", ids);
  encoder.Encode("abcd", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{256, 'a', 'b', 'c', 'd'}));
}

TEST(BytePairEncoder, LongPiecesTakeNoQuadraticTime) {
  std::mt19937 random(11);
  const Vocabulary vocabulary = RandomVocabulary(random, 300, 3);
  BytePairEncoder encoder(vocabulary);
  const std::string piece = RandomPiece(random, 1'000'000, 3);
  std::vector<int32_t> ids;
  const std::clock_t begin = std::clock();
  encoder.Encode(piece, ids);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  std::string decoded;
  for (const int32_t id : ids) decoded += vocabulary.Bytes(id);
  EXPECT_EQ(decoded, piece);
  EXPECT_LT(ids.size(), piece.size() * 3 / 4);
  EXPECT_LT(seconds, 30);  // about 0.5 s; a quadratic way takes hours
}

}  // namespace
}  // namespace tandem
