// Readers of the two files of a tokenizer folder. Errors name the file, the line or key, what was
// expected and what was found.
#pragma once

#include <string>

#include "core/status.h"
#include "engine/text/special_tokens.h"
#include "engine/text/vocabulary.h"

namespace tandem {

// tiktoken.model: one line per token, base64 of its bytes, a space, its rank; ranks count up from 0
// and all 256 single bytes are there.
absl::StatusOr<Vocabulary> ReadTiktokenModel(const std::string& path);

// added_tokens_decoder of tokenizer_config.json: names of ids first_id .. first_id+255.
absl::StatusOr<SpecialTokens> ReadSpecialTokens(const std::string& path, int32_t first_id);

}  // namespace tandem
