// Errors that HTTP has a status of its own for (service/api/error_status.h has those of absl
// codes).
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

// `message` is for the client: no paths, no addresses.
absl::Status HttpError(int http_status, const std::string& message);

}  // namespace tandem
