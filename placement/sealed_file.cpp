#include "placement/sealed_file.h"

#include <xxhash.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "placement/replace_file.h"

namespace tandem {
namespace {

constexpr char kMagic[] = "TANDEM\n";

struct Numbers {
  uint32_t version;
  uint64_t bytes, hash;
};

std::string Header(const SealedKind& kind, const std::string& payload) {
  std::string header = absl::StrCat(kMagic, kind.name, "\n");
  const uint32_t version = kind.version;
  const uint64_t bytes = payload.size(), hash = XXH3_64bits(payload.data(), payload.size());
  header.append(reinterpret_cast<const char*>(&version), sizeof version);
  header.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  header.append(reinterpret_cast<const char*>(&hash), sizeof hash);
  return header;
}

template <class T>
T Take(const std::string& text, size_t& at) {
  T value{};
  std::memcpy(&value, text.data() + at, sizeof value);
  at += sizeof value;
  return value;
}

}  // namespace

absl::Status WriteSealedFile(const std::string& path, const SealedKind& kind,
                             const std::string& payload) {
  return ReplaceFile(path, Seal(kind, payload));
}

absl::StatusOr<std::string> ReadSealedFile(const std::string& path, const SealedKind& kind) {
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path, ignored)) {
    return absl::NotFoundError(
        absl::StrCat(path, ": no such ", kind.name, " file, or it cannot be read"));
  }
  std::ostringstream all;
  all << file.rdbuf();
  return Unseal(std::move(all).str(), kind, path);
}

std::string Seal(const SealedKind& kind, const std::string& payload) {
  return Header(kind, payload) + payload;
}

absl::StatusOr<std::string> Unseal(std::string text, const SealedKind& kind,
                                   const std::string& path) {
  if (text.empty()) return absl::DataLossError(absl::StrCat(path, ": the file is empty"));
  if (!text.starts_with(kMagic))
    return absl::InvalidArgumentError(absl::StrCat(path, ": this is no ", kind.name, " of Tandem"));
  size_t at = std::strlen(kMagic);
  const size_t line_end = text.find('\n', at);
  const std::string found = text.substr(at, std::min<size_t>(line_end - at, 20));
  if (line_end == std::string::npos || found != kind.name) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": this is a ", found, " of Tandem, not a ", kind.name));
  }
  at = line_end + 1;
  if (text.size() < at + 20)
    return absl::DataLossError(absl::StrCat(path, ": the file is cut short"));
  const auto version = Take<uint32_t>(text, at);
  const auto bytes = Take<uint64_t>(text, at);
  const auto hash = Take<uint64_t>(text, at);
  if (version != kind.version) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": the ", kind.name, " has version ",
                                                      version, ", this program reads ",
                                                      kind.version, ": make it anew"));
  }
  if (text.size() - at != bytes) {
    return absl::DataLossError(absl::StrCat(path, ": the file should hold ", bytes, " bytes of ",
                                            kind.name, " but holds ", text.size() - at));
  }
  text.erase(0, at);
  if (XXH3_64bits(text.data(), text.size()) != hash)
    return absl::DataLossError(absl::StrCat(path, ": the ", kind.name, " is damaged (checksum)"));
  return text;
}

}  // namespace tandem
