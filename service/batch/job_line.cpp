#include "service/batch/job_line.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/api/json_fields.h"
#include "service/bounded_json.h"

namespace tandem {
namespace {

constexpr const char* kUrls[] = {"/v1/chat/completions", "/v1/completions", "/tokenize"};

void CheckUrl(JsonFields& fields, const std::string& url, const std::string& endpoint) {
  if (!endpoint.empty()) {
    if (url != endpoint) fields.Fail("url", absl::StrCat("\"", endpoint, "\", the batch's own"));
  } else if (std::ranges::find(kUrls, url) == std::end(kUrls)) {
    fields.Fail("url", absl::StrCat("one of ", absl::StrJoin(kUrls, ", ")));
  }
}

}  // namespace

std::span<const char* const> BatchUrls() { return kUrls; }

JobLine ParseJobLine(std::string_view text, const Limits& limits, const std::string& endpoint) {
  JobLine line;
  auto json = ParseBoundedJson(text, limits, limits.max_message_bytes);
  if (!json.ok()) {
    line.error =
        absl::InvalidArgumentError(absl::StrCat("the line ", std::string(json.status().message())));
    return line;
  }
  if (!json->is_object()) {
    line.error = absl::InvalidArgumentError(
        absl::StrCat("the line is ", json->type_name(), "; expected an object"));
    return line;
  }
  JsonFields fields(*json, "");
  line.custom_id = fields.Text("custom_id");
  if (line.custom_id.empty() || line.custom_id.size() > kMaxCustomIdBytes)
    fields.Fail("custom_id", absl::StrCat("a string of 1 to ", kMaxCustomIdBytes, " bytes"));
  if (fields.Text("method") != "POST") fields.Fail("method", "\"POST\"");
  line.url = fields.Text("url");
  CheckUrl(fields, line.url, endpoint);
  if (!fields.Required("body").is_object()) fields.Fail("body", "an object");
  line.error = fields.Done();
  if (line.custom_id.size() > kMaxCustomIdBytes) line.custom_id.clear();
  if (line.error.ok()) line.body = std::move((*json)["body"]);
  return line;
}

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace tandem
