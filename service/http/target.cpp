#include "service/http/target.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

constexpr size_t kMaxTargetBytes = 4096, kMaxQueryFields = 64;

bool IsHex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }

std::optional<std::string> PercentDecode(absl::string_view text, bool plus_is_space) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || !IsHex(text[i + 1]) || !IsHex(text[i + 2])) return std::nullopt;
      result += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      result += text[i] == '+' && plus_is_space ? ' ' : text[i];
    }
  }
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(result.begin(), result.end(), is_control)) return std::nullopt;
  return result;
}

// What "*" stands for, decoded, if `path` is what `pattern` says.
std::optional<std::string> MatchPath(const std::string& pattern, const std::string& path) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == path ? std::optional<std::string>("") : std::nullopt;
  const std::string_view before(pattern.data(), star);
  const std::string_view after = std::string_view(pattern).substr(star + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
      !path.ends_with(after)) {
    return std::nullopt;
  }
  const std::string part = path.substr(star, path.size() - before.size() - after.size());
  if (part.find('/') != part.npos) return std::nullopt;
  auto found = PercentDecode(part, /*plus_is_space=*/false);
  if (!found || *found == "." || *found == "..") return std::nullopt;
  return found;
}

}  // namespace

absl::StatusOr<Target> ParseTarget(const std::string& target) {
  if (target.size() > kMaxTargetBytes) return HttpError(414, "the path and query are too long");
  const auto is_visible = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
  if (!target.starts_with('/') || target.find('#') != target.npos ||
      !std::all_of(target.begin(), target.end(), is_visible)) {
    return HttpError(400, "the request's target is not a path; expected one like /v1/models");
  }
  const size_t mark = target.find('?');
  Target result{target.substr(0, mark), {}};
  if (mark == target.npos) return result;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(target).substr(mark + 1), '&', absl::SkipEmpty());
  if (fields.size() > kMaxQueryFields) return HttpError(400, "the query has too many fields");
  for (const absl::string_view field : fields) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(field, absl::MaxSplits('=', 1));
    auto name = PercentDecode(pair.first, /*plus_is_space=*/true);
    auto value = PercentDecode(pair.second, /*plus_is_space=*/true);
    if (!name || !value) return HttpError(400, "the query cannot be decoded");
    if (!result.query.emplace(*std::move(name), *std::move(value)).second) {
      return HttpError(400, "the query has a field twice");
    }
  }
  return result;
}

Match FindRoute(const RouteTable& table, const std::string& method, const std::string& path) {
  Match exact, by_part;
  for (const Route& route : table.routes()) {
    const auto tail = MatchPath(route.path, path);
    if (!tail) continue;
    Match& match = route.path.find('*') != route.path.npos ? by_part : exact;
    match.same_path.push_back(&route);
    if (route.method != method || match.route != nullptr) continue;
    match.route = &route;
    match.tail = *tail;
  }
  return exact.same_path.empty() ? by_part : exact;
}

}  // namespace tandem
