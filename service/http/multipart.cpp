#include "service/http/multipart.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr size_t kMaxBoundaryBytes = 70;  // RFC 2046
constexpr char kSpaces[] = " \t";

absl::Status Bad(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("the form ", what));
}

// What stands before `end`, which is passed, too; all of it, if there is no `end`.
std::string_view TakeUntil(std::string_view& text, std::string_view end) {
  const size_t at = text.find(end);
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at == text.npos ? text.size() : at + end.size());
  return taken;
}

void SkipSpaces(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
}

// A token, or a quoted string without its quotes. False: it has no end.
bool TakeValue(std::string_view& text, std::string& value) {
  if (!text.starts_with('"')) {
    const size_t end = std::min(text.find_first_of("; \t"), text.size());
    value = std::string(text.substr(0, end));
    text.remove_prefix(end);
    return true;
  }
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
    // Browsers leave backslashes alone; only these two can be meant.
    if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    value += text[i];
  }
  return false;
}

// "form-data; name="file"; filename="a"": the first word under "", names in lower case.
absl::StatusOr<std::map<std::string, std::string>> ParseParameters(std::string_view text) {
  std::map<std::string, std::string> parameters;
  std::string_view first = text.substr(0, text.find(';'));
  text.remove_prefix(first.size());
  while (!first.empty() && absl::ascii_isspace(first.back())) first.remove_suffix(1);
  parameters[""] = absl::AsciiStrToLower(std::string(first));
  for (;;) {
    SkipSpaces(text);
    if (text.empty()) return parameters;
    if (!text.starts_with(';')) return Bad("has a header that is not well-formed");
    text.remove_prefix(1);
    SkipSpaces(text);
    if (text.empty()) return parameters;
    const std::string name = absl::AsciiStrToLower(std::string(TakeUntil(text, "=")));
    std::string value;
    if (name.empty() || !TakeValue(text, value)) return Bad("has a header that is not well-formed");
    if (!parameters.emplace(name, std::move(value)).second)
      return Bad("has a header that says something twice");
  }
}

absl::StatusOr<std::string> BoundaryOf(const std::string& content_type) {
  TANDEM_ASSIGN_OR_RETURN(auto parameters, ParseParameters(content_type));
  std::string boundary = parameters["boundary"];
  const auto is_allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("'()+_,-./:=? ", std::string(1, c));
  };
  if (boundary.empty() || boundary.size() > kMaxBoundaryBytes || boundary.back() == ' ' ||
      !std::all_of(boundary.begin(), boundary.end(), is_allowed)) {
    return Bad(
        "has no good boundary in the header Content-Type; expected 1 to 70 letters, digits "
        "and '()+_,-./:=?");
  }
  return boundary;
}

absl::Status TakeHeader(std::string_view line, FormPart& part) {
  const std::string name = absl::AsciiStrToLower(std::string(TakeUntil(line, ":")));
  SkipSpaces(line);
  if (name == "content-transfer-encoding") {
    const std::string encoding = absl::AsciiStrToLower(std::string(line));
    if (encoding == "binary" || encoding == "8bit" || encoding == "7bit") return absl::OkStatus();
    return Bad("has an encoded part; send it as it is");
  }
  if (name != "content-disposition") return absl::OkStatus();
  TANDEM_ASSIGN_OR_RETURN(auto parameters, ParseParameters(line));
  if (parameters[""] != "form-data" || !part.name.empty())
    return Bad("has a part that is not form-data");
  part.name = parameters["name"];
  part.filename = parameters["filename"];
  return absl::OkStatus();
}

absl::Status TakeHeaders(std::string_view& body, FormPart& part) {
  std::string_view head = body.substr(0, kMaxFormHeadBytes);
  const size_t end = head.find("\r\n\r\n");
  if (end == head.npos)
    return Bad(
        absl::StrCat("has a part whose headers do not end within ", kMaxFormHeadBytes, " bytes"));
  head = head.substr(0, end);
  body.remove_prefix(end + 4);
  while (!head.empty()) TANDEM_RETURN_IF_ERROR(TakeHeader(TakeUntil(head, "\r\n"), part));
  return part.name.empty() ? Bad("has a part without a name") : absl::OkStatus();
}

// Behind a boundary: true if another part follows.
absl::StatusOr<bool> TakeLineEnd(std::string_view& body) {
  if (body.starts_with("--")) return false;  // what follows is no part any more
  body.remove_prefix(std::min(body.find_first_not_of(kSpaces), body.size()));
  if (!body.starts_with("\r\n")) return Bad("has a boundary that is followed by something else");
  body.remove_prefix(2);
  return true;
}

}  // namespace

absl::StatusOr<std::vector<FormPart>> ParseForm(const std::string& content_type,
                                                std::string_view body) {
  TANDEM_ASSIGN_OR_RETURN(const std::string boundary, BoundaryOf(content_type));
  const std::string delimiter = absl::StrCat("\r\n--", boundary);
  if (!body.starts_with(std::string_view(delimiter).substr(2)))
    return Bad("does not begin with the boundary that the header Content-Type says");
  body.remove_prefix(delimiter.size() - 2);
  std::vector<FormPart> parts;
  for (;;) {
    TANDEM_ASSIGN_OR_RETURN(const bool more, TakeLineEnd(body));
    if (!more) break;
    if (parts.size() == kMaxFormParts)
      return Bad(absl::StrCat("has more than ", kMaxFormParts, " parts"));
    FormPart& part = parts.emplace_back();
    TANDEM_RETURN_IF_ERROR(TakeHeaders(body, part));
    const size_t end = body.find(delimiter);
    if (end == body.npos) return Bad("does not end with its boundary");
    part.content = body.substr(0, end);
    body.remove_prefix(end + delimiter.size());
  }
  if (parts.empty()) return Bad("has no parts");
  return parts;
}

}  // namespace tandem
