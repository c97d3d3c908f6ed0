#include "tests/engine_text/tiny_tokenizer.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tandem::testing {
namespace {

std::string Base64(const std::string& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tandem_test_XXXXXX").string();
  const char* made = mkdtemp(pattern.data());
  TANDEM_CHECK(made != nullptr, "the test needs a writable temporary folder");
  path_ = made;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TempFolder::Write(const std::string& name, const std::string& content) const {
  std::ofstream(path_ + "/" + name, std::ios::binary) << content;
}

std::string TiktokenLines(const std::vector<std::string>& tokens) {
  std::string lines;
  for (size_t i = 0; i < tokens.size(); ++i)
    lines += Base64(tokens[i]) + " " + std::to_string(i) + "\n";
  return lines;
}

std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens;
  for (int byte = 255; byte >= 0; --byte) tokens.push_back(std::string(1, static_cast<char>(byte)));
  for (const char* token :
       {"he",     "ll",       "llo",          "hello",    " w",           "or", " wor",
        " world", "in",       "th",           " th",      " the",         "er", "re",
        "  ",     "    ",     "\n\n",         "user",     "us",           "im", "<|",
        "|>",     "\xE4\xBD", "\xE4\xBD\xA0", "\xE5\xA5", "\xE5\xA5\xBD", "aa", "aaa",
        "aaaa",   "12",       "123",          "'s",       "ab",           "bc", "abc"})
    tokens.push_back(token);
  return tokens;
}

std::string TokenizerConfig(const std::map<int, std::pair<std::string, bool>>& names) {
  nlohmann::ordered_json added = nlohmann::ordered_json::object();
  for (const auto& [id, name] : names)
    added[std::to_string(id)] = {
        {"content", name.first}, {"lstrip", false}, {"special", name.second}};
  return nlohmann::ordered_json{{"added_tokens_decoder", added}}.dump();
}

std::map<int, std::pair<std::string, bool>> KimiNames(int n_base) {
  return {{n_base + 0, {"[BOS]", true}},
          {n_base + 1, {"[EOS]", true}},
          {n_base + 2, {"<|im_end|>", true}},
          {n_base + 3, {"<|im_user|>", true}},
          {n_base + 4, {"<|im_assistant|>", true}},
          {n_base + 10, {"<|im_system|>", true}},
          {n_base + 11, {"<|tool_calls_section_begin|>", false}},
          {n_base + 12, {"<|tool_calls_section_end|>", false}},
          {n_base + 13, {"<|tool_call_begin|>", false}},
          {n_base + 14, {"<|tool_call_argument_begin|>", false}},
          {n_base + 15, {"<|tool_call_end|>", false}},
          {n_base + 17, {"<|im_middle|>", true}},
          {n_base + 18, {"<|media_begin|>", true}},
          {n_base + 19, {"<|media_content|>", true}},
          {n_base + 20, {"<|media_end|>", true}},
          {n_base + 21, {"<|media_pad|>", true}},
          {n_base + 22, {"<think>", false}},
          {n_base + 23, {"</think>", false}},
          {n_base + 254, {"[UNK]", true}},
          {n_base + 255, {"[PAD]", true}}};
}

std::unique_ptr<Tokenizer> MakeTinyTokenizer() {
  const TempFolder folder;
  const std::vector<std::string> tokens = TinyTokens();
  folder.Write("tiktoken.model", TiktokenLines(tokens));
  folder.Write("tokenizer_config.json",
               TokenizerConfig(KimiNames(static_cast<int>(tokens.size()))));
  auto tokenizer = Tokenizer::Load(folder.path());
  TANDEM_CHECK(tokenizer.ok(), tokenizer.status().ToString().c_str());
  return std::move(tokenizer).value();
}

}  // namespace tandem::testing
