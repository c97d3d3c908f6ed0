#include "service/api/sealed_reasoning.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/text/tokenizer.h"

namespace tandem {
namespace {

constexpr std::string_view kPrefix = "tandem-reasoning-1.";

}  // namespace

std::string SealReasoning(std::string_view reasoning) {
  return absl::StrCat(std::string(kPrefix), absl::Base64Escape(std::string(reasoning)));
}

std::optional<std::string> OpenReasoning(std::string_view sealed) {
  if (!sealed.starts_with(kPrefix)) return std::nullopt;
  std::string reasoning;
  if (!absl::Base64Unescape(std::string(sealed.substr(kPrefix.size())), &reasoning))
    return std::nullopt;
  Utf8Stream utf8;  // replaces what is no UTF-8
  const std::string valid = utf8.Push(reasoning) + utf8.Finish();
  if (valid != reasoning) return std::nullopt;
  return reasoning;
}

}  // namespace tandem
