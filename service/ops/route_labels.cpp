#include "service/ops/route_labels.h"

namespace tandem {
namespace {

constexpr size_t kMaxRpcs = 64;

}  // namespace

void RouteLabels::Know(const RouteTable& routes) {
  std::lock_guard lock(mutex_);
  for (const Route& route : routes.routes()) {
    std::string name = route.method + " " + route.path;
    if (name.ends_with('*')) {
      name.pop_back();
      starts_.push_back(std::move(name));
    } else {
      exact_.insert(std::move(name));
    }
  }
}

std::string RouteLabels::Of(const RequestLog& log) {
  std::lock_guard lock(mutex_);
  if (log.transport == "grpc") {
    // gRPC tells only of calls to methods that exist; the bound is for the day it does not.
    if (!log.method.starts_with("/") || (rpcs_.size() >= kMaxRpcs && !rpcs_.contains(log.method)))
      return "other";
    return *rpcs_.insert(log.method).first;
  }
  if (exact_.contains(log.method)) return log.method;
  for (const std::string& start : starts_)
    if (log.method.size() >= start.size() && log.method.starts_with(start)) return start + "*";
  return "other";
}

}  // namespace tandem
