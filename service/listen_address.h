// Which addresses only programs of this machine can reach.
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

// OK for HOST:PORT with HOST localhost, in 127.0.0.0/8 or [::1], and for unix:PATH. Otherwise
// INVALID_ARGUMENT: a sentence that says why, and what to do.
absl::Status CheckLoopback(const std::string& address);

}  // namespace tandem
