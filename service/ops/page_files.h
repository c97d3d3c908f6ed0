// The web page's files, as they are in the program (service/ops/page/).
#pragma once

#include "service/http/exchange.h"

namespace tandem {

// GET of "/" and each file, open to everybody: the page asks for a key by itself.
void AddPageFiles(RouteTable& table);

}  // namespace tandem
