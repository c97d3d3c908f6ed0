// Routes for those who run the server:
//
//   GET  /                       the web page, and its files: open to all, as they hold nothing
//   GET  /health                 open to all: 200 while requests are taken, 503 while draining
//   GET  /version, /metrics
//   GET  /api/live?heat=decode   what live_view.h says; heat: decode, prefill or none
//   GET  /api/tasks, /api/tasks/ID
//   POST /api/task_cancel/ID     {"agent": "..."} or nothing
#pragma once

#include <functional>

#include "service/access/gate.h"
#include "service/http/exchange.h"
#include "service/ops/live_view.h"
#include "service/ops/metrics.h"

namespace tandem {

// Outlives the routes.
struct OpsContext {
  Metrics& metrics;
  LiveView& live;
  Gate& gate;
  std::function<bool()> serving;  // false while the server drains
};

// To be called last: metrics count requests by the routes of `table`.
void AddOpsRoutes(RouteTable& table, const OpsContext& context);

// Part of it: the tasks of gate.h.
void AddTaskRoutes(RouteTable& table, Gate& gate);

}  // namespace tandem
