#include "tools/synth_tokenizer.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <unordered_map>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/json_file.h"
#include "engine/text/tokenizer_files.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

// Kimi's named control tokens by offset into the 256 slots (kimi_k26: special ids).
struct NamedSlot {
  int offset;
  const char* text;
  bool flagged;
};
constexpr NamedSlot kNamedSlots[] = {
    {0, "[BOS]", true},
    {1, "[EOS]", true},
    {2, "<|im_end|>", true},
    {3, "<|im_user|>", true},
    {4, "<|im_assistant|>", true},
    {6, "<|start_header_id|>", true},
    {7, "<|end_header_id|>", true},
    {9, "[EOT]", true},
    {10, "<|im_system|>", true},
    {11, "<|tool_calls_section_begin|>", false},
    {12, "<|tool_calls_section_end|>", false},
    {13, "<|tool_call_begin|>", false},
    {14, "<|tool_call_argument_begin|>", false},
    {15, "<|tool_call_end|>", false},
    {17, "<|im_middle|>", true},
    {18, "<|media_begin|>", true},
    {19, "<|media_content|>", true},
    {20, "<|media_end|>", true},
    {21, "<|media_pad|>", true},
    {22, "<think>", false},
    {23, "</think>", false},
    {254, "[UNK]", true},
    {255, "[PAD]", true},
};

std::string TokenLine(std::string_view bytes, int32_t rank) {
  return absl::StrCat(absl::Base64Escape(absl::string_view(bytes.data(), bytes.size())), " ", rank,
                      "\n");
}

// The 256 bytes in GPT-2's order: the printable ones first.
std::vector<std::string> ByteTokens() {
  const auto is_printable = [](int b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  };
  std::vector<std::string> tokens;
  for (bool printable : {true, false}) {
    for (int b = 0; b < 256; ++b) {
      if (is_printable(b) == printable) tokens.emplace_back(1, static_cast<char>(b));
    }
  }
  return tokens;
}

// Words of lower-case letters, grown by joining two tokens that exist.
class WordMaker {
 public:
  WordMaker(int32_t n_tokens, uint64_t seed) : n_tokens_(n_tokens), random_(seed) {}

  std::vector<std::string> Make() {
    tokens_ = ByteTokens();
    for (int32_t i = 0; i < static_cast<int32_t>(tokens_.size()); ++i) ranks_[tokens_[i]] = i;
    for (char c = 'a'; c <= 'z'; ++c) parts_.emplace_back(1, c);
    while (static_cast<int32_t>(tokens_.size()) < n_tokens_) Grow();
    return std::move(tokens_);
  }

 private:
  void Grow() {
    constexpr size_t kLongest = 16;
    const bool begins_word = random_() % 2 == 0;
    std::string word = begins_word ? " " : Pick();
    word += Pick();
    if (word.size() > kLongest || ranks_.contains(word) || MergedParts(word) != 2) return;
    ranks_[word] = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(word);
    if (!begins_word) parts_.push_back(word);
  }

  const std::string& Pick() { return parts_[random_() % parts_.size()]; }

  // Into how many tokens byte-pair merging takes `word` today; with 2, their join becomes
  // reachable.
  size_t MergedParts(const std::string& word) const {
    std::vector<std::string> parts;
    for (char c : word) parts.emplace_back(1, c);
    while (parts.size() > 1) {
      int32_t best_rank = INT32_MAX;
      size_t best = 0;
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto it = ranks_.find(parts[i] + parts[i + 1]);
        if (it == ranks_.end() || it->second >= best_rank) continue;
        best_rank = it->second;
        best = i;
      }
      if (best_rank == INT32_MAX) break;
      parts[best] += parts[best + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    return parts.size();
  }

  int32_t n_tokens_;
  std::mt19937_64 random_;
  std::vector<std::string> tokens_;
  std::vector<std::string> parts_;  // those without a leading space
  std::unordered_map<std::string, int32_t> ranks_;
};

std::string InventedConfig(int32_t first_id) {
  ordered_json names = ordered_json::object();
  for (const NamedSlot& slot : kNamedSlots) {
    names[absl::StrCat(first_id + slot.offset)] = {
        {"content", slot.text}, {"lstrip", false},      {"normalized", false},
        {"rstrip", false},      {"single_word", false}, {"special", slot.flagged}};
  }
  const ordered_json config = {{"added_tokens_decoder", names},
                               {"bos_token", "[BOS]"},
                               {"clean_up_tokenization_spaces", false},
                               {"eos_token", "[EOS]"},
                               {"pad_token", "[PAD]"},
                               {"tokenizer_class", "TikTokenTokenizer"},
                               {"unk_token", "[UNK]"}};
  return config.dump(2) + "\n";
}

// The same names, as many ids further up or down as the vocabulary shrank.
absl::StatusOr<std::string> MovedConfig(const std::string& path, int32_t first_id, int32_t move) {
  TANDEM_RETURN_IF_ERROR(ReadSpecialTokens(path, first_id).status());  // checks the file
  TANDEM_ASSIGN_OR_RETURN(nlohmann::json config, ReadJsonFile(path));
  std::map<int64_t, nlohmann::json> by_id;  // in numeric order
  for (const auto& [key, entry] : config["added_tokens_decoder"].items()) {
    const int64_t id = std::stoll(key);
    nlohmann::json moved = entry;
    if (moved["content"] == absl::StrCat("<|reserved_token_", id, "|>")) {
      moved["content"] = absl::StrCat("<|reserved_token_", id + move, "|>");
    }
    by_id[id + move] = std::move(moved);
  }
  ordered_json names = ordered_json::object();
  for (const auto& [id, entry] : by_id) names[absl::StrCat(id)] = entry;
  ordered_json out = {{"added_tokens_decoder", names}};
  for (const auto& [key, value] : config.items()) {
    if (key != "added_tokens_decoder") out[key] = value;
  }
  return out.dump(2) + "\n";
}

}  // namespace

absl::StatusOr<TokenizerFiles> CutTokenizer(const std::string& dir, int32_t vocab) {
  const std::string model_path = dir + "/tiktoken.model";
  TANDEM_ASSIGN_OR_RETURN(const Vocabulary vocabulary, ReadTiktokenModel(model_path));
  const int32_t n_tokens = vocab - SpecialTokens::kSlots;
  if (vocabulary.size() < n_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        model_path, " has ", vocabulary.size(), " tokens; with ", SpecialTokens::kSlots,
        " control tokens that is a vocabulary of ", vocabulary.size() + SpecialTokens::kSlots,
        ", but ", vocab, " were asked for; give --vocab a smaller number"));
  }
  TokenizerFiles files;
  for (int32_t rank = 0; rank < n_tokens; ++rank) {
    files.model += TokenLine(vocabulary.Bytes(rank), rank);
  }
  TANDEM_ASSIGN_OR_RETURN(
      files.config,
      MovedConfig(dir + "/tokenizer_config.json", vocabulary.size(), n_tokens - vocabulary.size()));
  std::ifstream chat(dir + "/chat_template.jinja", std::ios::binary);
  if (chat) files.chat_template.assign(std::istreambuf_iterator<char>(chat), {});
  return files;
}

TokenizerFiles InventTokenizer(int32_t vocab, uint64_t seed) {
  TokenizerFiles files;
  int32_t rank = 0;
  for (const std::string& token : WordMaker(vocab - SpecialTokens::kSlots, seed).Make()) {
    files.model += TokenLine(token, rank++);
  }
  files.config = InventedConfig(rank);
  return files;
}

}  // namespace tandem
