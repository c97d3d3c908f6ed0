#include "service/ops/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "service/ops/route_labels.h"

namespace tandem {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using Counters = prometheus::Family<prometheus::Counter>;
using Histograms = prometheus::Family<prometheus::Histogram>;

// Of waiting, computing and whole requests: an agent's turn takes milliseconds, a long prompt on a
// slow machine minutes.
const Buckets& Seconds() {
  static const Buckets buckets = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                  5,     10,   25,    50,   100, 250,  500, 1000};
  return buckets;
}

// Of a token: 2 ms is 500 tokens a second.
const Buckets& TokenSeconds() {
  static const Buckets buckets = {0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1,
                                  0.15,  0.2,   0.3,  0.5,  0.75, 1,    2,     5};
  return buckets;
}

std::string StatusLabel(const RequestLog& log) {
  if (log.transport != "grpc") return std::to_string(log.status);
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(log.status));
}

// Finishes are the server's own words; the bound is for what is not.
std::string FinishLabel(const std::string& finish) {
  static const std::set<std::string> known = {"stop",      "length",   "tool_calls",
                                              "cancelled", "deadline", "error"};
  return known.contains(finish) ? finish : "other";
}

}  // namespace

struct Metrics::Requests {
  Counters& Count(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Histogram& Spread(const char* name, const char* help,
                                const Buckets& buckets = Seconds()) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }

  RouteLabels routes;
  prometheus::Registry registry;
  Counters& ended = Count("tandem_requests_total", "Requests that ended, of all kinds.");
  Histograms& total = prometheus::BuildHistogram()
                          .Name("tandem_request_seconds")
                          .Help("From a request's arrival to the last byte of its answer.")
                          .Register(registry);
  Counters& finished = Count("tandem_answers_total", "Generated answers by how they ended.");
  Counters& tokens =
      Count("tandem_request_tokens_total",
            "Tokens of requests that generated: of prompts without those from the prefix cache, "
            "of prompts from there, of answers.");
  prometheus::Counter& prompt_tokens = tokens.Add({{"kind", "prompt"}});
  prometheus::Counter& cached_tokens = tokens.Add({{"kind", "cached_prompt"}});
  prometheus::Counter& completion_tokens = tokens.Add({{"kind", "completion"}});
  prometheus::Counter& diverged =
      Count("tandem_prefix_divergences_total",
            "Prompts that left a cached prefix in the middle of one of its pages.")
          .Add({});
  prometheus::Histogram& queue = Spread("tandem_queue_seconds", "Waiting for a place.");
  prometheus::Histogram& prefill = Spread("tandem_prefill_seconds", "Computing the prompt.");
  prometheus::Histogram& decode = Spread("tandem_decode_seconds", "Generating the answer.");
  prometheus::Histogram& first_token =
      Spread("tandem_time_to_first_token_seconds", "From arrival to the first token.");
  prometheus::Histogram& per_token = Spread(
      "tandem_time_per_output_token_seconds",
      "Decode time over tokens after the first; of a request's answers together.", TokenSeconds());
};

Metrics::Metrics(const Engine& engine, ServerAbout about, std::function<int32_t()> open_requests)
    : engine_(engine),
      about_(std::move(about)),
      open_requests_(std::move(open_requests)),
      requests_(std::make_unique<Requests>()) {}

Metrics::~Metrics() = default;

void Metrics::KnowRoutes(const RouteTable& routes) { requests_->routes.Know(routes); }

void Metrics::Ended(const RequestLog& log) {
  Requests& requests = *requests_;
  const std::string route = requests.routes.Of(log);
  const std::string transport = log.transport == "grpc" ? "grpc" : "http";
  requests.ended.Add({{"transport", transport}, {"route", route}, {"status", StatusLabel(log)}})
      .Increment();
  requests.total.Add({{"route", route}}, Seconds()).Observe(log.total_s);
  if (!log.generated) return;
  const Usage& usage = log.usage;
  requests.finished.Add({{"finish", FinishLabel(log.finish)}}).Increment();
  requests.prompt_tokens.Increment(usage.prompt_tokens - usage.cached_tokens);
  requests.cached_tokens.Increment(usage.cached_tokens);
  requests.completion_tokens.Increment(usage.completion_tokens);
  if (!log.divergence.empty()) requests.diverged.Increment();
  requests.queue.Observe(usage.queue_s);
  requests.prefill.Observe(usage.prefill_s);
  if (usage.completion_tokens == 0) return;
  requests.decode.Observe(usage.decode_s);
  requests.first_token.Observe(log.first_token_s);
  if (usage.completion_tokens > 1)
    requests.per_token.Observe(usage.decode_s / (usage.completion_tokens - 1));
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> families = requests_->registry.Collect();
  for (auto& more : {EngineMetrics(engine_.stats()), LayerMetrics(engine_.layer_times()),
                     ProcessMetrics(ReadProcessStats(), about_, open_requests_())})
    families.insert(families.end(), more.begin(), more.end());
  if (batch_counts_) {
    const auto batches = BatchMetrics(batch_counts_());
    families.insert(families.end(), batches.begin(), batches.end());
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace tandem
