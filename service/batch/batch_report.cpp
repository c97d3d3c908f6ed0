#include "service/batch/batch_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/progress.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

double Rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

Json ToJson(const StepTotals& totals) {
  return {{"steps", totals.steps}, {"rows", totals.rows}, {"seconds", totals.seconds}};
}

Json ToJson(const Spread& s) {
  return {{"mean", s.mean}, {"p10", s.p10}, {"p50", s.p50}, {"p90", s.p90}, {"max", s.max}};
}

Json ToJson(const BatchProgress& progress) {
  Json json = {{"state", Name(progress.state)},
               {"requests", progress.requests},
               {"done", progress.done},
               {"failed", progress.failed},
               {"failed_by_code", Json::object()},
               {"resumed", progress.resumed},
               {"in_flight", progress.in_flight},
               {"prompt_tokens", progress.prompt_tokens},
               {"cached_tokens", progress.cached_tokens},
               {"completion_tokens", progress.completion_tokens},
               {"work_done", progress.work_done},
               {"running_s", progress.running_s},
               {"left_s", progress.left_s >= 0 ? Json(progress.left_s) : Json()}};
  for (const auto& [code, count] : progress.by_code) json["failed_by_code"][code] = count;
  if (!progress.error.ok()) json["error"] = std::string(progress.error.message());
  return json;
}

double Mean(const std::vector<double>& values) {
  return Rate(std::accumulate(values.begin(), values.end(), 0.0),
              static_cast<double>(values.size()));
}

std::string Dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string FailuresText(const BatchProgress& progress) {
  std::string text;
  for (const auto& [code, count] : progress.by_code)
    absl::StrAppend(&text, text.empty() ? "" : ", ", count, " ", code);
  return text.empty() ? "" : absl::StrCat(" (", text, ")");
}

}  // namespace

std::string BatchReport::ToText() const {
  const BatchMeasures& m = measures;
  const double all = static_cast<double>(m.prompt_tokens + m.generated_tokens);
  std::string text =
      absl::StrFormat("requests  %d of %d done, %d failed%s; %d by earlier runs\n", progress.done,
                      progress.requests, progress.failed, FailuresText(progress), progress.resumed);
  absl::StrAppendFormat(&text,
                        "tokens    %d of prompts computed, %d from the cache, %d generated\n",
                        m.prompt_tokens, m.cached_tokens, m.generated_tokens);
  absl::StrAppendFormat(
      &text, "rate      %.1f tok/s: prompts %.1f, generated %.1f; %.2f requests/s, in %s%s\n",
      Rate(all, m.wall_s), Rate(m.prompt_tokens, m.wall_s), Rate(m.generated_tokens, m.wall_s),
      Rate(progress.done - progress.resumed, m.wall_s), DurationText(m.wall_s),
      predicted_s > 0 ? absl::StrCat("; the plan said ", DurationText(predicted_s), " at most")
                      : "");
  absl::StrAppendFormat(
      &text, "batch     %.1f sequences a decode step (10 %%: %.0f, median %.0f, 90 %%: %.0f)\n",
      m.sequences.mean, m.sequences.p10, m.sequences.p50, m.sequences.p90);
  const auto percent = [&](double seconds) { return 100 * Rate(seconds, m.wall_s); };
  absl::StrAppendFormat(&text,
                        "time      prefill %.1f %%, decode %.1f %%, mixed steps %.1f %%, outside "
                        "the engine %.1f %%; of the steps, experts on the CPU %.1f %%\n",
                        percent(m.prefill.seconds), percent(m.decode.seconds), percent(m.mixed_s),
                        percent(m.outside_s()), 100 * Rate(m.experts_s, m.experts_s + m.dense_s));
  if (!m.coverage.empty()) {
    absl::StrAppendFormat(&text, "experts   %.1f %% of each layer's were used, %.1f to %.1f %%\n",
                          100 * Mean(m.coverage), 100 * std::ranges::min(m.coverage),
                          100 * std::ranges::max(m.coverage));
  }
  return text;
}

std::string BatchReport::ToJson() const {
  const BatchMeasures& m = measures;
  const double all = static_cast<double>(m.prompt_tokens + m.generated_tokens);
  Json json = {{"progress", tandem::ToJson(progress)},
               {"wall_s", m.wall_s},
               {"rates",
                {{"tok_per_s", Rate(all, m.wall_s)},
                 {"prompt_tok_per_s", Rate(m.prompt_tokens, m.wall_s)},
                 {"generated_tok_per_s", Rate(m.generated_tokens, m.wall_s)},
                 {"requests_per_s", Rate(progress.done - progress.resumed, m.wall_s)},
                 {"prefill_tok_per_s", Rate(m.prefill.rows, m.prefill.seconds)},
                 {"decode_tok_per_s", Rate(m.decode.rows, m.decode.seconds)}}},
               {"tokens",
                {{"prompt_computed", m.prompt_tokens},
                 {"prompt_cached", m.cached_tokens},
                 {"generated", m.generated_tokens}}},
               {"sequences_per_decode_step", tandem::ToJson(m.sequences)},
               {"steps",
                {{"prefill", tandem::ToJson(m.prefill)},
                 {"decode", tandem::ToJson(m.decode)},
                 {"mixed", {{"steps", m.mixed_steps}, {"seconds_about", m.mixed_s}}}}},
               {"time",
                {{"in_steps_s", m.steps_s()},
                 {"outside_engine_s", m.outside_s()},
                 {"dense_s", m.dense_s},
                 {"cpu_experts_s", m.experts_s}}},
               {"expert_coverage", {{"mean", Mean(m.coverage)}, {"by_layer", m.coverage}}},
               {"preemptions", m.preemptions},
               {"evicted_pages", m.evicted_pages},
               {"max_in_flight", max_in_flight},
               {"predicted_s", predicted_s > 0 ? Json(predicted_s) : Json()},
               {"peak_rss_bytes", peak_rss_bytes},
               {"engine", engine}};
  if (m.coverage.empty()) json["expert_coverage"] = nullptr;
  return Dumped(json, 2);
}

std::string ProgressJson(const BatchProgress& progress) { return Dumped(ToJson(progress), -1); }

}  // namespace tandem
