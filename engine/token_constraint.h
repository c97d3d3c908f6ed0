// What an answer has to look like, told token by token: the sampler asks before each token which
// ones may come. engine/constrain/ makes such objects of JSON schemas and tool declarations.
#pragma once

#include <cstdint>
#include <span>

#include "core/status.h"

namespace tandem {

// 32-bit words of a mask over the vocabulary: bit id % 32 of word id / 32.
constexpr int32_t MaskWords(int32_t vocab) { return (vocab + 31) / 32; }

// Of one answer; called by one thread at a time.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Whether the next token is restricted at all. If so, sets the bits of those that may come and
  // clears the others: one at least is set. `allowed` is [MaskWords(vocab)].
  virtual bool Next(std::span<uint32_t> allowed) = 0;
  // The token that was chosen. Error: INTERNAL if it is not one that Next() allowed.
  virtual absl::Status Accept(int32_t id) = 0;
};

}  // namespace tandem
