#include "service/ops/engine_metrics.h"

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <utility>

namespace tandem {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct Value {
  std::vector<ClientMetric::Label> labels;
  double value;

  Value(double v) : value(v) {}                        // NOLINT: without labels
  Value(int64_t v) : value(static_cast<double>(v)) {}  // NOLINT
  Value(std::string name, std::string is, double v)
      : labels{{std::move(name), std::move(is)}}, value(v) {}
};

MetricFamily Family(MetricType type, std::string name, std::string help,
                    std::vector<Value> values) {
  MetricFamily family{std::move(name), std::move(help), type, {}};
  for (Value& value : values) {
    ClientMetric metric;
    metric.label = std::move(value.labels);
    (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value.value;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily Counter(std::string name, std::string help, std::vector<Value> values) {
  return Family(MetricType::Counter, std::move(name), std::move(help), std::move(values));
}

MetricFamily Gauge(std::string name, std::string help, std::vector<Value> values) {
  return Family(MetricType::Gauge, std::move(name), std::move(help), std::move(values));
}

Value By(const char* name, const char* is, auto value) {
  return {name, is, static_cast<double>(value)};
}

MetricFamily RoutedMetric(const EngineStats& stats) {
  const std::pair<const char*, Phase> phases[] = {{"prefill", Phase::kPrefill},
                                                  {"decode", Phase::kDecode}};
  std::vector<Value> values;
  for (const auto& [name, phase] : phases) {
    const int64_t all = stats.routed_pairs[static_cast<size_t>(phase)];
    const int64_t hot = stats.hot_pairs[static_cast<size_t>(phase)];
    for (const auto& [place, count] : {std::pair{"hot", hot}, std::pair{"cold", all - hot}}) {
      Value value = By("phase", name, count);
      value.labels.push_back({"place", place});
      values.push_back(std::move(value));
    }
  }
  return Counter("tandem_routed_experts_total",
                 "Experts chosen by the router, all layers: hot ones lie on the GPU.",
                 std::move(values));
}

}  // namespace

std::vector<MetricFamily> EngineMetrics(const EngineStats& stats) {
  const auto& [interactive, normal, batch] = stats.waiting_by_priority;
  const int64_t in_use = stats.kv_pages_used, cached = stats.kv_pages_cached;
  const auto& adaptation = stats.adaptation;
  return {
      Gauge("tandem_requests_running", "Sequences in the batch.", {int64_t{stats.running}}),
      Gauge("tandem_requests_waiting", "Sequences in the engine's queue.",
            {By("priority", "interactive", interactive), By("priority", "normal", normal),
             By("priority", "batch", batch)}),
      Gauge("tandem_kv_pages",
            "Pages of the latent cache, of 64 tokens: used by running sequences (a shared one "
            "once), cached for prompts with the same prefix, or free.",
            {By("state", "used", in_use), By("state", "cached", cached),
             By("state", "free", stats.kv_pages_total - in_use - cached)}),
      Counter("tandem_kv_pages_evicted_total", "Cached pages given up for others.",
              {stats.evicted_pages}),
      Counter("tandem_preemptions_total", "Sequences that made room for one of higher priority.",
              {stats.preemptions}),
      Counter("tandem_engine_steps_total", "Steps of the engine.", {stats.steps}),
      Counter("tandem_engine_phase_steps_total", "Steps in which all rows were of one phase.",
              {By("phase", "prefill", stats.prefill_steps.steps),
               By("phase", "decode", stats.decode_steps.steps),
               By("phase", "mixed", stats.mixed_steps.steps)}),
      Counter("tandem_engine_phase_rows_total", "Rows of these steps.",
              {By("phase", "prefill", stats.prefill_steps.rows),
               By("phase", "decode", stats.decode_steps.rows),
               By("phase", "mixed", stats.mixed_steps.rows)}),
      Counter("tandem_engine_phase_seconds_total", "Time these steps took.",
              {By("phase", "prefill", stats.prefill_steps.seconds),
               By("phase", "decode", stats.decode_steps.seconds),
               By("phase", "mixed", stats.mixed_steps.seconds)}),
      Counter("tandem_engine_prompt_tokens_total", "Prompt tokens by where they came from.",
              {By("from", "computed", stats.prompt_tokens),
               By("from", "cache", stats.cached_prompt_tokens)}),
      Counter("tandem_engine_generated_tokens_total", "Tokens generated.",
              {stats.generated_tokens}),
      RoutedMetric(stats),
      Counter("tandem_hot_expert_swaps_total",
              "Exchanges of hot experts by the adaptation: suggested, done, dropped.",
              {By("result", "suggested", adaptation.suggested),
               By("result", "done", adaptation.done), By("result", "dropped", adaptation.dropped)}),
      Counter("tandem_hot_expert_swap_bytes_total", "Sent to the GPU for them.",
              {adaptation.bytes}),
  };
}

std::vector<MetricFamily> LayerMetrics(const LayerTimes& times) {
  std::vector<Value> values;
  const std::pair<const char*, Phase> phases[] = {{"prefill", Phase::kPrefill},
                                                  {"decode", Phase::kDecode}};
  for (const auto& [name, phase] : phases) {
    const LayerTimes::Of& of = times.by_phase[static_cast<size_t>(phase)];
    for (const auto& [side, layers] :
         {std::pair{"dense", &of.dense_s}, std::pair{"cpu_experts", &of.experts_s}}) {
      double sum = 0;
      for (const double seconds : *layers) sum += seconds;
      Value value = By("phase", name, sum);
      value.labels.push_back({"side", side});
      values.push_back(std::move(value));
    }
  }
  return {Gauge("tandem_step_seconds",
                "A step of late, by who was waited for: the dense side (the GPU's, if there is "
                "one) or the CPU's experts.",
                std::move(values))};
}

std::vector<MetricFamily> BatchMetrics(const BatchCounts& counts) {
  return {Gauge("tandem_batches", "Batches that have not ended.",
                {By("state", "running", counts.running), By("state", "waiting", counts.waiting),
                 By("state", "paused", counts.paused)}),
          Counter("tandem_batch_requests_total", "Requests of batches that have ended.",
                  {By("result", "answered", counts.done - counts.failed),
                   By("result", "failed", counts.failed)})};
}

std::vector<MetricFamily> ProcessMetrics(const ProcessStats& stats, const ServerAbout& about,
                                         int32_t open_requests) {
  Value build = 1.0;
  build.labels = {{"model", about.model}, {"version", about.version}};
  return {
      Gauge("tandem_build_info", "1; what is served by which version.", {build}),
      Gauge("tandem_open_requests", "Requests that generate, being served or waiting.",
            {int64_t{open_requests}}),
      Gauge("process_resident_memory_bytes", "Resident memory, mapped weights included.",
            {stats.resident_bytes}),
      Gauge("process_resident_private_memory_bytes", "Resident memory that no file backs.",
            {stats.resident_private_bytes}),
      Counter("process_cpu_seconds_total", "Time on all cores.", {stats.cpu_s}),
      Gauge("process_open_fds", "Open files and sockets.", {int64_t{stats.open_files}}),
      Gauge("process_start_time_seconds", "When the process started, since 1970.",
            {stats.start_unix_s}),
  };
}

}  // namespace tandem
