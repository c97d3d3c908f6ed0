// Lines of a batch's output.
//
//   answered  {"id": "batch_req_...", "custom_id": "a",
//              "response": {"status_code": 200, "request_id": "...", "body": {...}}, "error": null}
//   refused   the same with another status_code, OpenAI's error object as body, and
//             "error": {"code": "invalid_request", "message": "line 7: temperature is 9; ..."}
//   no request at all (malformed, twice the same custom_id, batch abandoned)
//             "response": null, "custom_id": null if the line has none, and "error"
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"
#include "service/http/exchange.h"

namespace tandem {

struct ResultLine {
  std::string text;  // ends with a line break
  std::string code;  // of the error; "" if there is none
};

ResultLine AnsweredLine(const std::string& custom_id, const HttpResponse& response);
// `error` is what `response` says, too.
ResultLine RefusedLine(const std::string& custom_id, int64_t line, const absl::Status& error,
                       const HttpResponse& response);
ResultLine NoRequestLine(const std::string& custom_id, int64_t line, const std::string& code,
                         const std::string& message);

// A status as an error's code: "invalid_request", "server_error"...
std::string BatchErrorCode(const absl::Status& error);

}  // namespace tandem
