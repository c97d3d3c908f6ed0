// Ids that nobody can guess and no two answers share.
#pragma once

#include <string>

namespace tandem {

// `length` letters and digits, all lower case; 24 of them are 124 bits. Any thread.
std::string RandomId(int length);

}  // namespace tandem
