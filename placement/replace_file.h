// Writing a file so that nobody ever sees half of it.
#pragma once

#include <string>

#include "core/status.h"

namespace tandem {

// Replaces the file as a whole, or leaves it as it was. Errors: UNAVAILABLE naming path and reason.
absl::Status ReplaceFile(const std::string& path, const std::string& bytes);

}  // namespace tandem
