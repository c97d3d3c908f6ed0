// A file of the source tree that is part of the program (cmake/embed.cmake).
#pragma once

#include <string_view>

namespace tandem {

struct EmbeddedFile {
  std::string_view name;  // without the folder
  std::string_view text;
};

}  // namespace tandem
