#include "service/api/request_parts.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/bounded_json.h"

namespace tandem {

using Json = nlohmann::ordered_json;

absl::StatusOr<Json> ParseBody(const HttpRequest& request, const Limits& limits) {
  auto body = ParseBoundedJson(request.body, limits, limits.max_message_bytes);
  if (body.ok()) return body;
  return absl::InvalidArgumentError(absl::StrCat("the body ", body.status().message()));
}

std::string EntryOf(const std::string& list, size_t index) {
  return absl::StrCat(list, "[", index, "]");
}

absl::StatusOr<Json> ConvertTools(
    const Json* tools, const Limits& limits,
    const std::function<absl::StatusOr<Json>(const Json&, const std::string&)>& convert) {
  if (tools == nullptr || tools->empty()) return Json();
  Json converted = Json::array();
  for (size_t i = 0; i < tools->size(); ++i) {
    const std::string where = EntryOf("tools", i);
    TANDEM_ASSIGN_OR_RETURN(Json tool, convert((*tools)[i], where));
    if (tool.dump().size() > static_cast<size_t>(limits.max_tool_bytes))
      return absl::InvalidArgumentError(absl::StrCat(
          where, " is longer than ", limits.max_tool_bytes, " bytes; expected a shorter schema"));
    converted.push_back(std::move(tool));
  }
  return converted;
}

absl::StatusOr<std::vector<std::string>> ParseStops(const Json* stops, const std::string& field,
                                                    const Limits& limits) {
  std::vector<std::string> parsed;
  for (size_t i = 0; stops != nullptr && i < stops->size(); ++i) {
    const Json& stop = (*stops)[i];
    const size_t bytes = stop.is_string() ? stop.get_ref<const std::string&>().size() : 0;
    if (bytes == 0 || bytes > static_cast<size_t>(limits.max_stop_bytes))
      return absl::InvalidArgumentError(
          absl::StrCat(EntryOf(field, i), " is ", stop.is_string() ? "of " : "no string, ", bytes,
                       " bytes; expected a string of 1 to ", limits.max_stop_bytes));
    parsed.push_back(stop.get<std::string>());
  }
  return parsed;
}

absl::StatusOr<std::vector<int32_t>> ParseIds(const Json* ids, const std::string& field,
                                              int32_t vocab) {
  constexpr size_t kShownBytes = 32;
  std::vector<int32_t> parsed;
  for (size_t i = 0; ids != nullptr && i < ids->size(); ++i) {
    const Json& id = (*ids)[i];
    if (!id.is_number_integer() || id < 0 || id >= vocab)
      return absl::InvalidArgumentError(absl::StrCat(EntryOf(field, i), " is ",
                                                     id.dump().substr(0, kShownBytes),
                                                     "; expected an id from 0 to ", vocab - 1));
    parsed.push_back(id.get<int32_t>());
  }
  return parsed;
}

}  // namespace tandem
