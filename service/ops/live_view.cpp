#include "service/ops/live_view.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/escaping.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr std::chrono::seconds kRateWindow{5};

double Ms(double seconds) { return std::round(seconds * 1e6) / 1e3; }
double Rounded(double value) { return std::round(value * 100) / 100; }

ordered_json LayersJson(const LayerTimes& times, Phase phase) {
  const LayerTimes::Of& of = times.by_phase[static_cast<size_t>(phase)];
  ordered_json dense = ordered_json::array(), experts = ordered_json::array();
  for (const double seconds : of.dense_s) dense.push_back(Ms(seconds));
  for (const double seconds : of.experts_s) experts.push_back(Ms(seconds));
  return {{"steps", of.steps}, {"dense_ms", dense}, {"cpu_experts_ms", experts}};
}

// A byte per expert: 16ths of an even share of its layer's hits, 255 for all above. Rows of layers.
std::string Shares(const HeatMap& map, const HeatMap::Picture& picture) {
  const size_t experts = map.experts();
  std::string bytes(picture.hits.size(), '\0');
  for (size_t row = 0; row + experts <= picture.hits.size(); row += experts) {
    const auto begin = picture.hits.begin() + static_cast<ptrdiff_t>(row);
    const double sum = std::accumulate(begin, begin + static_cast<ptrdiff_t>(experts), 0.0);
    for (size_t e = row; sum > 0 && e < row + experts; ++e) {
      const double sixteenths = picture.hits[e] * static_cast<double>(experts) / sum * 16;
      bytes[e] = static_cast<char>(std::min(std::lround(sixteenths), 255L));
    }
  }
  return absl::Base64Escape(bytes);
}

// A bit per expert, the lowest first.
std::string HotBits(const std::vector<bool>& hot) {
  std::string bytes((hot.size() + 7) / 8, '\0');
  for (size_t i = 0; i < hot.size(); ++i)
    if (hot[i]) bytes[i / 8] |= static_cast<char>(1 << (i % 8));
  return absl::Base64Escape(bytes);
}

ordered_json HeatJson(const HeatMap& map, Phase phase) {
  const HeatMap::Picture picture = map.Look(phase);
  const double hits = std::accumulate(picture.hits.begin(), picture.hits.end(), 0.0);
  return {{"phase", phase == Phase::kDecode ? "decode" : "prefill"},
          {"first_layer", map.first_layer()},
          {"layers", map.moe_layers()},
          {"experts", map.experts()},
          {"hits", Rounded(hits)},
          {"n_hot", std::ranges::count(picture.hot, true)},
          {"sixteenths_of_even_share", Shares(map, picture)},
          {"hot_bits", HotBits(picture.hot)}};
}

ordered_json HitRate(const EngineStats& stats, Phase phase) {
  const auto p = static_cast<size_t>(phase);
  if (stats.routed_pairs[p] == 0) return nullptr;
  return static_cast<double>(stats.hot_pairs[p]) / static_cast<double>(stats.routed_pairs[p]);
}

}  // namespace

LiveView::LiveView(Engine& engine, std::string model_name, std::function<int32_t()> open_requests,
                   const LiveViewOptions& options)
    : engine_(engine),
      model_name_(std::move(model_name)),
      open_requests_(std::move(open_requests)),
      options_(options),
      heat_map_(std::make_shared<HeatMap>(engine.identity(), options.half_life)),
      watcher_([this] { Watch(); }) {}

LiveView::~LiveView() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  watcher_.join();
}

void LiveView::NoteLook() {
  {
    std::lock_guard lock(mutex_);
    last_look_ = Clock::now();
  }
  changed_.notify_all();
}

void LiveView::Watch() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || last_look_; });
    if (closing_) return;
    lock.unlock();
    const bool observing = engine_.Observe(heat_map_).ok();
    lock.lock();
    while (!closing_ && Clock::now() < *last_look_ + options_.patience)
      changed_.wait_until(lock, *last_look_ + options_.patience);
    last_look_.reset();
    lock.unlock();
    // If the engine is shutting down, it has stopped telling by itself.
    if (observing) engine_.StopObserving(heat_map_.get()).IgnoreError();
    lock.lock();
  }
}

ordered_json LiveView::Rates(const EngineStats& now) {
  std::lock_guard lock(mutex_);
  const Clock::time_point when = Clock::now();
  while (!samples_.empty() && samples_.front().when < when - kRateWindow) samples_.pop_front();
  ordered_json rates = nullptr;
  if (!samples_.empty()) {
    const Sample& before = samples_.front();
    const double seconds = std::chrono::duration<double>(when - before.when).count();
    const auto rate = [&](int64_t EngineStats::*count) {
      return Rounded(static_cast<double>(now.*count - before.stats.*count) / seconds);
    };
    rates = {{"seconds", Rounded(seconds)},
             {"generated_per_s", rate(&EngineStats::generated_tokens)},
             {"prompt_per_s", rate(&EngineStats::prompt_tokens)},
             {"cached_prompt_per_s", rate(&EngineStats::cached_prompt_tokens)},
             {"steps_per_s", rate(&EngineStats::steps)}};
  }
  if (samples_.empty() || samples_.back().when < when - std::chrono::milliseconds(100))
    samples_.push_back({when, now});
  return rates;
}

ordered_json LiveView::Look(std::optional<Phase> heat) {
  NoteLook();
  const EngineStats stats = engine_.stats();
  const LayerTimes times = engine_.layer_times();
  const auto& [interactive, normal, batch] = stats.waiting_by_priority;
  const int64_t free = stats.kv_pages_total - stats.kv_pages_used - stats.kv_pages_cached;
  ordered_json look = {
      {"model", model_name_},
      {"engine", engine_.description()},
      {"up_s", Rounded(std::chrono::duration<double>(Clock::now() - start_).count())},
      {"open_requests", open_requests_()},
      {"batch", {{"running", stats.running}, {"preemptions", stats.preemptions}}},
      {"queue",
       {{"waiting", stats.waiting},
        {"interactive", interactive},
        {"normal", normal},
        {"batch", batch}}},
      {"kv_pages",
       {{"total", stats.kv_pages_total},
        {"used", stats.kv_pages_used},
        {"cached", stats.kv_pages_cached},
        {"free", free},
        {"evicted", stats.evicted_pages}}},
      {"tokens",
       {{"generated", stats.generated_tokens},
        {"prompt", stats.prompt_tokens},
        {"cached_prompt", stats.cached_prompt_tokens}}},
      {"rates", Rates(stats)},
      {"steps", stats.steps},
      {"hot_hit_rate",
       {{"prefill", HitRate(stats, Phase::kPrefill)}, {"decode", HitRate(stats, Phase::kDecode)}}},
      {"layers",
       {{"prefill", LayersJson(times, Phase::kPrefill)},
        {"decode", LayersJson(times, Phase::kDecode)}}}};
  look["heat"] = heat && heat_map_->moe_layers() > 0 ? HeatJson(*heat_map_, *heat) : nullptr;
  return look;
}

}  // namespace tandem
