// What a request asks for: its target taken apart, and the route that serves it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/status.h"
#include "service/http/exchange.h"

namespace tandem {

struct Target {
  std::string path;  // as it came: nothing is normalised
  std::map<std::string, std::string> query;
};

// Errors: 400 for anything but a path from the root on, of visible ASCII, and a query that can be
// decoded.
absl::StatusOr<Target> ParseTarget(const std::string& target);

struct Match {
  const Route* route = nullptr;  // null: no such method, or no such path
  std::string tail;              // decoded: what "*" stands for
  // Routes of the same path: their methods, in the order of the table.
  std::vector<const Route*> same_path;
};

// Exact: case, slashes and dots count; only the part that "*" stands for may be percent-encoded. It
// has no slash unless encoded, and decodes to visible text.
Match FindRoute(const RouteTable& table, const std::string& method, const std::string& path);

}  // namespace tandem
