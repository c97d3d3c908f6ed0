#include "engine/text/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kMaxFileBytes = 1u << 30;  // a wrong file is refused before it fills the memory

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot open ", path));
  const std::streamoff n_bytes = file.tellg();
  if (n_bytes < 0 || static_cast<size_t>(n_bytes) > kMaxFileBytes)
    return absl::InvalidArgumentError(absl::StrCat(path, " is no file of at most 1 GiB"));
  std::string content(static_cast<size_t>(n_bytes), '\0');
  file.seekg(0);
  if (!file.read(content.data(), n_bytes))
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  return content;
}

// Value of a base64 digit, -1 for anything else.
constexpr std::array<int8_t, 256> kBase64 = [] {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < digits.size(); ++i)
    values[static_cast<uint8_t>(digits[i])] = static_cast<int8_t>(i);
  return values;
}();

// Padded base64 of at least one byte; false if it is not that.
bool DecodeBase64(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int8_t value = kBase64[static_cast<uint8_t>(text[i])];
    const bool is_padding = i + padding >= text.size();
    if (value < 0 && !is_padding) return false;
    bits = bits << 6 | static_cast<uint32_t>(is_padding ? 0 : value);
    if (i % 4 == 3)
      bytes +=
          {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8), static_cast<char>(bits)};
  }
  bytes.resize(bytes.size() - padding);
  return true;
}

absl::Status LineError(const std::string& path, int32_t line, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, " line ", line, ": ", what));
}

absl::Status AppendLine(const std::string& path, std::string_view line, std::string& bytes,
                        Vocabulary& vocabulary) {
  const int32_t rank = vocabulary.size();
  const size_t space = line.find(' ');
  if (space == std::string_view::npos)
    return LineError(path, rank + 1, "expected \"BASE64 RANK\", found no space");
  if (!DecodeBase64(line.substr(0, space), bytes))
    return LineError(path, rank + 1, "the token is not base64");
  const std::string_view number = line.substr(space + 1);
  int32_t found = -1;
  const auto [end, error] = std::from_chars(number.begin(), number.end(), found);
  if (error != std::errc() || end != number.end() || found != rank)
    return LineError(path, rank + 1,
                     absl::StrCat("expected rank ", rank, ", found \"",
                                  std::string(number.substr(0, 32)), "\""));
  vocabulary.Append(bytes);
  return absl::OkStatus();
}

absl::Status CheckSlot(const std::string& path, const std::string& key,
                       const nlohmann::json& entry) {
  const auto error = [&](const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": added_tokens_decoder[\"", key, "\"]", what));
  };
  if (!entry.is_object()) return error(": expected an object");
  if (!entry.contains("content") || !entry["content"].is_string())
    return error(".content: expected a string");
  if (entry["content"].get_ref<const std::string&>().empty())
    return error(".content: must not be empty");
  if (entry.contains("special") && !entry["special"].is_boolean())
    return error(".special: expected true or false");
  for (const char* flag : {"lstrip", "rstrip", "normalized", "single_word"}) {
    if (entry.contains(flag) && entry[flag] != false)
      return error(absl::StrCat(".", flag, ": only false is supported"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Vocabulary> ReadTiktokenModel(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  Vocabulary vocabulary;
  vocabulary.Reserve(content.size() / 16, content.size() / 2);
  std::string bytes;
  for (std::string_view rest = content; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    TANDEM_RETURN_IF_ERROR(AppendLine(path, line, bytes, vocabulary));
  }
  if (const int32_t twice = vocabulary.BuildIndex(); twice != Vocabulary::kNone)
    return LineError(path, twice + 1, "this token is already on an earlier line");
  for (int byte = 0; byte < 256; ++byte) {
    if (vocabulary.FindByte(static_cast<uint8_t>(byte)) == Vocabulary::kNone)
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": expected a token for each of the 256 bytes, found none for byte ",
                       byte, " among ", vocabulary.size(), " tokens"));
  }
  return vocabulary;
}

absl::StatusOr<SpecialTokens> ReadSpecialTokens(const std::string& path, int32_t first_id) {
  TANDEM_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  const auto config = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  const bool ends_early = content.find('\0') != content.npos;  // where the parser stops silently
  if (!config.is_object() || ends_early)
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a JSON object"));
  const auto added = config.find("added_tokens_decoder");
  if (added == config.end() || !added->is_object())
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected an object added_tokens_decoder, found ",
                     added == config.end() ? "none" : added->type_name()));

  std::array<SpecialTokens::Slot, SpecialTokens::kSlots> slots;
  for (const auto& [key, entry] : added->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < first_id ||
        id >= first_id + SpecialTokens::kSlots)
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": added_tokens_decoder: expected ids ", first_id, " to ",
          first_id + SpecialTokens::kSlots - 1, " (after tiktoken.model), found \"", key, "\""));
    TANDEM_RETURN_IF_ERROR(CheckSlot(path, key, entry));
    slots[id - first_id] = {entry["content"].get<std::string>(), entry.value("special", false)};
  }
  auto tokens = SpecialTokens::Create(first_id, std::move(slots));
  if (!tokens.ok())
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", tokens.status().message()));
  return tokens;
}

}  // namespace tandem
