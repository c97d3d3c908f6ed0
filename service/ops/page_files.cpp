#include "service/ops/page_files.h"

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/embedded_file.h"
#include "service/api/error_status.h"

namespace tandem {

std::span<const EmbeddedFile> LivePageFiles();  // cmake/embed.cmake

namespace {

// The page may load from, and talk to, its own server only; no script but its files runs, whatever
// text a model puts in it.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src "
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* TypeOf(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  return "image/svg+xml";
}

// FNV-1a: the files are ours, so nobody looks for a second text of the same hash.
std::string ETag(std::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const unsigned char byte : text) hash = (hash ^ byte) * 1099511628211u;
  return absl::StrFormat("\"%016x\"", hash);
}

HttpResponse Answer(const HttpRequest& request, const EmbeddedFile& file, const std::string& etag) {
  HttpResponse response{.content_type = TypeOf(file.name),
                        .headers = {{"ETag", etag},
                                    {"Cache-Control", "no-cache"},
                                    {"Content-Security-Policy", kPolicy},
                                    {"X-Content-Type-Options", "nosniff"},
                                    {"Referrer-Policy", "no-referrer"}}};
  const auto known = request.headers.find("if-none-match");
  if (known != request.headers.end() && known->second.find(etag) != std::string::npos) {
    response.status = 304;
  } else {
    response.body = file.text;
  }
  return response;
}

void AddFile(RouteTable& table, std::string path, const EmbeddedFile& file) {
  const std::string etag = ETag(file.text);
  table.Add({.method = "GET",
             .path = std::move(path),
             .access = Access::kOpen,
             .handler =
                 [file, etag](const HttpRequest& request, std::shared_ptr<Exchange> exchange) {
                   exchange->Send(Answer(request, file, etag));
                 },
             .write_error = ToOpenAiError});
}

}  // namespace

void AddPageFiles(RouteTable& table) {
  for (const EmbeddedFile& file : LivePageFiles())
    AddFile(table, file.name == "index.html" ? "/" : "/" + std::string(file.name), file);
}

}  // namespace tandem
