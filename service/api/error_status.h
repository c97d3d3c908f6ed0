// Errors as HTTP tells them: a status for each absl code, in one place for all APIs, and OpenAI's
// way of wording one.
#pragma once

#include <string>

#include "core/status.h"
#include "service/http/exchange.h"

namespace tandem {

// Under this payload name an error carries, in decimal, the HTTP status that no absl code stands
// for, such as 413 and 431.
inline constexpr char kHttpStatusPayload[] = "tandem/http-status";

int HttpStatusOf(const absl::Status& error);

// Seconds to wait before trying again, rounded up; 0: the error does not say. From
// kRetryAfterMsPayload (engine.h).
int RetryAfterSeconds(const absl::Status& error);

// What a client is told. An error of the server's own is not explained: what it says may name files
// or addresses; the log has it under the request's id.
std::string PublicMessage(const absl::Status& error);

// The field that an error's message begins with: "messages[2].content" of "messages[2].content:
// expected ...", "n" of "n is 5; expected ..."; "" if there is none.
std::string FieldOf(const absl::Status& error);

// kErrorCodePayload (gate.h), "" if there is none.
std::string ErrorCodeOf(const absl::Status& error);

// Status, Retry-After and a body {"error": {"message", "type", "param", "code"}}.
HttpResponse ToOpenAiError(const absl::Status& error);
// That body alone, for a stream that has begun.
std::string OpenAiErrorBody(const absl::Status& error);

}  // namespace tandem
