#include "engine/text/tokenizer.h"

#include <utility>

#include "engine/text/bpe.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/special_tokens.h"
#include "engine/text/tokenizer_files.h"
#include "engine/text/vocabulary.h"

namespace tandem {
namespace {

class TiktokenTokenizer final : public Tokenizer {
 public:
  TiktokenTokenizer(Vocabulary vocabulary, SpecialTokens special)
      : vocabulary_(std::move(vocabulary)), special_(std::move(special)) {}

  std::vector<int32_t> Encode(std::string_view text, bool parse_special) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 4 + 1);
    BytePairEncoder encoder(vocabulary_);
    while (parse_special) {
      const SpecialTokens::Match match = special_.FindFirst(text);
      if (match.begin == std::string_view::npos) break;
      EncodePlain(text.substr(0, match.begin), encoder, ids);
      ids.push_back(match.id);
      text.remove_prefix(match.begin + match.bytes);
    }
    EncodePlain(text, encoder, ids);
    return ids;
  }

  std::string DecodeBytes(std::span<const int32_t> ids, bool skip_special) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (special_.Contains(id)) {
        const SpecialTokens::Slot& slot = special_.At(id);
        if (!(skip_special && slot.flagged)) bytes += slot.text;
      } else if (id >= 0 && id < vocabulary_.size()) {
        bytes += vocabulary_.Bytes(id);
      }
    }
    return bytes;
  }

  int32_t vocab_size() const override { return vocabulary_.size() + SpecialTokens::kSlots; }
  std::optional<int32_t> SpecialId(std::string_view text) const override {
    return special_.Find(text);
  }
  bool IsSpecial(int32_t id) const override { return special_.Contains(id); }
  bool IsSkipped(int32_t id) const override {
    return special_.Contains(id) && special_.At(id).flagged;
  }

 private:
  static void EncodePlain(std::string_view text, BytePairEncoder& encoder,
                          std::vector<int32_t>& ids) {
    TextCutter cutter(text);
    for (std::string_view part = cutter.Next(); !part.empty(); part = cutter.Next()) {
      while (!part.empty()) {
        const size_t n_bytes = PieceBytes(part);
        encoder.Encode(part.substr(0, n_bytes), ids);
        part.remove_prefix(n_bytes);
      }
    }
  }

  Vocabulary vocabulary_;
  SpecialTokens special_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& dir) {
  TANDEM_ASSIGN_OR_RETURN(Vocabulary vocabulary, ReadTiktokenModel(dir + "/tiktoken.model"));
  TANDEM_ASSIGN_OR_RETURN(SpecialTokens special,
                          ReadSpecialTokens(dir + "/tokenizer_config.json", vocabulary.size()));
  return std::make_unique<TiktokenTokenizer>(std::move(vocabulary), std::move(special));
}

}  // namespace tandem
