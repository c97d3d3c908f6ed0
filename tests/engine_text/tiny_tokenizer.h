// A small tokenizer folder made on the fly: 256 bytes, some hundred merges, Kimi's control tokens.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace tandem::testing {

// A folder that is removed with the object.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

// "BASE64 RANK" lines of tokens.
std::string TiktokenLines(const std::vector<std::string>& tokens);
// All 256 bytes, then tokens that English, code and Chinese text meets.
std::vector<std::string> TinyTokens();
// tokenizer_config.json: id -> (text, flagged special).
std::string TokenizerConfig(const std::map<int, std::pair<std::string, bool>>& names);
// Kimi's control tokens for a vocabulary of `n_base` tokens, in the published slots.
std::map<int, std::pair<std::string, bool>> KimiNames(int n_base);

std::unique_ptr<Tokenizer> MakeTinyTokenizer();

}  // namespace tandem::testing
