// The engine's, the batches' and the process's state as metrics, read when they are asked for.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "service/batch/batch_records.h"
#include "service/ops/process_stats.h"

namespace prometheus {
struct MetricFamily;
}

namespace tandem {

// What a server is, for tandem_build_info.
struct ServerAbout {
  std::string version, model;
};

std::vector<prometheus::MetricFamily> EngineMetrics(const EngineStats& stats);
std::vector<prometheus::MetricFamily> LayerMetrics(const LayerTimes& times);
std::vector<prometheus::MetricFamily> BatchMetrics(const BatchCounts& counts);
std::vector<prometheus::MetricFamily> ProcessMetrics(const ProcessStats& stats,
                                                     const ServerAbout& about,
                                                     int32_t open_requests);

}  // namespace tandem
