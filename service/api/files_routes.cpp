#include "service/api/files_routes.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/api/batch_json.h"
#include "service/api/error_status.h"
#include "service/http/multipart.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFormBytes = 64 << 10;  // of an upload beside its file
constexpr int64_t kMaxListed = 10'000;

struct FileForm {
  NewFile file;
  std::string_view content;
};

absl::Status TakePart(const FormPart& part, FileForm& form) {
  const std::string value(part.content.substr(0, 64));
  if (part.name == "file") {
    form.file.name = part.filename;
    form.content = part.content;
  } else if (part.name == "purpose") {
    form.file.purpose = value;
  } else if (part.name == "expires_after[anchor]") {
    if (value != "created_at") {
      return absl::InvalidArgumentError("expires_after[anchor] is another; expected created_at");
    }
  } else if (part.name == "expires_after[seconds]") {
    if (!absl::SimpleAtoi(value, &form.file.expires_after_s) || form.file.expires_after_s < 1)
      return absl::InvalidArgumentError("expires_after[seconds] is no whole number from 1 on");
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::Utf8SafeCHexEscape(part.name.substr(0, 64)),
                     " is not a field that this server knows"));
  }
  return absl::OkStatus();
}

// Its content is part of the request's body.
absl::StatusOr<FileForm> ParseFileForm(const HttpRequest& request) {
  const auto type = request.headers.find("content-type");
  TANDEM_ASSIGN_OR_RETURN(
      const auto parts, ParseForm(type == request.headers.end() ? "" : type->second, request.body));
  FileForm form = {.file = {.owner = request.caller.name}, .content = {}};
  std::set<std::string> seen;
  for (const FormPart& part : parts) {
    if (!seen.insert(part.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(absl::Utf8SafeCHexEscape(part.name.substr(0, 64)), " comes twice"));
    }
    TANDEM_RETURN_IF_ERROR(TakePart(part, form));
  }
  for (const char* field : {"file", "purpose"}) {
    if (!seen.contains(field))
      return absl::InvalidArgumentError(absl::StrCat(field, " is missing; expected a value"));
  }
  return form;
}

absl::StatusOr<HttpResponse> Receive(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const FileForm form, ParseFileForm(request));
  TANDEM_ASSIGN_OR_RETURN(const FileRecord file, batches.files().Add(form.file, form.content));
  return JsonResponse(ToJson(file));
}

absl::StatusOr<HttpResponse> List(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const PageArgs args, ParsePage(request.query, kMaxListed, kMaxListed));
  const auto purpose = request.query.find("purpose");
  TANDEM_ASSIGN_OR_RETURN(
      const auto page,
      batches.files().List(request.caller.name,
                           purpose == request.query.end() ? "" : purpose->second, args));
  Json data = Json::array();
  for (const FileRecord& file : page.records) data.push_back(ToJson(file));
  return JsonResponse(ListJson(std::move(data), page.has_more));
}

absl::StatusOr<HttpResponse> Get(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(const FileRecord file,
                          batches.files().Find(request.caller.name, request.path_tail));
  return JsonResponse(ToJson(file));
}

absl::StatusOr<HttpResponse> Content(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_ASSIGN_OR_RETURN(auto content,
                          batches.files().Content(request.caller.name, request.path_tail));
  // Never something that a browser would show.
  return HttpResponse{.content_type = "application/octet-stream",
                      .headers = {{"Content-Disposition", "attachment"}},
                      .pieces = std::move(content)};
}

absl::StatusOr<HttpResponse> Delete(BatchQueue& batches, const HttpRequest& request) {
  TANDEM_RETURN_IF_ERROR(batches.files().Delete(request.caller.name, request.path_tail));
  return JsonResponse({{"id", request.path_tail}, {"object", "file"}, {"deleted", true}});
}

}  // namespace

void AddFilesRoutes(RouteTable& routes, BatchQueue* batches) {
  const auto add = [&](const char* method, const char* path, auto answer) -> Route {
    return BatchRoute(method, path, batches, answer);
  };
  Route upload = add("POST", "/v1/files", Receive);
  upload.body_type = "multipart/form-data";
  if (batches != nullptr)
    upload.max_body_bytes = batches->files().limits().max_file_bytes + kFormBytes;
  routes.Add(std::move(upload));
  routes.Add(add("GET", "/v1/files", List));
  routes.Add(add("GET", "/v1/files/*", Get));
  routes.Add(add("GET", "/v1/files/*/content", Content));
  routes.Add(add("DELETE", "/v1/files/*", Delete));
}

}  // namespace tandem
