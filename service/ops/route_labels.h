// Names of routes as labels of metrics: few, whatever clients ask for.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "service/access/request_log.h"
#include "service/http/exchange.h"

namespace tandem {

// Thread-safe.
class RouteLabels {
 public:
  void Know(const RouteTable& routes);
  // "POST /v1/chat/completions", "GET /v1/models/*", "/tandem.v1.Inference/Chat"; "other" for what
  // is not a route.
  std::string Of(const RequestLog& log);

 private:
  std::mutex mutex_;
  std::set<std::string> exact_;
  std::vector<std::string> starts_;  // of routes that end in "*", without it
  std::set<std::string> rpcs_;
};

}  // namespace tandem
