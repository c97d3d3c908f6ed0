// The id that a request has in logs and in its answer.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// The one that the client gave, if it is 1 to 64 letters, digits and "._-"; else a new one that
// nobody can guess: "req_...".
std::string RequestId(std::string_view given);

}  // namespace tandem
