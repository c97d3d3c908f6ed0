// What /metrics says, in Prometheus's text format. docs/operations.md lists the metrics.
//
// Requests are counted as they end; engine and process are looked at when the text is asked for.
// Labels are few: no keys, no tasks, nothing that clients choose.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "service/access/request_log.h"
#include "service/batch/batch_records.h"
#include "service/http/exchange.h"
#include "service/ops/engine_metrics.h"

namespace tandem {

// Thread-safe.
class Metrics final : public RequestObserver {
 public:
  // `engine` must outlive it. `open_requests` tells how many there are; any thread.
  Metrics(const Engine& engine, ServerAbout about, std::function<int32_t()> open_requests);
  ~Metrics() override;

  // Routes by whose names requests are counted; all others are "other".
  void KnowRoutes(const RouteTable& routes);
  // Before the text is asked for the first time; any thread calls it.
  void WatchBatches(std::function<BatchCounts()> counts) { batch_counts_ = std::move(counts); }
  void Ended(const RequestLog& log) override;

  const ServerAbout& about() const { return about_; }
  std::string Text() const;

 private:
  struct Requests;
  const Engine& engine_;
  const ServerAbout about_;
  const std::function<int32_t()> open_requests_;
  std::function<BatchCounts()> batch_counts_;  // null: there are none
  const std::unique_ptr<Requests> requests_;
};

}  // namespace tandem
