#include "service/batch/batch_meter.h"

#include <algorithm>
#include <numeric>

#include "core/log.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostSizes = 1 << 16;  // then neighbours are merged

StepTotals Since(const StepTotals& first, const StepTotals& now) {
  return {now.steps - first.steps, now.rows - first.rows, now.cached_tokens - first.cached_tokens,
          now.seconds - first.seconds};
}

int64_t MixedSteps(const EngineStats& stats) {
  return std::max<int64_t>(0, stats.steps - stats.decode_steps.steps - stats.prefill_steps.steps);
}

double SumOf(const std::vector<double>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

// The experts' share of a step of this kind; 0 if none was seen.
double ExpertsShare(const LayerTimes::Of& times) {
  const double dense = SumOf(times.dense_s), experts = SumOf(times.experts_s);
  return dense + experts > 0 ? experts / (dense + experts) : 0;
}

std::vector<double> CoverageOf(const ExpertProfile& profile) {
  const RoutingCounts counts = SumCounts(profile);
  const int32_t experts = profile.model.experts;
  std::vector<double> coverage;
  if (experts == 0 || counts.tokens == 0) return coverage;
  for (auto layer = counts.hits.begin(); layer != counts.hits.end(); layer += experts) {
    const auto used = std::count_if(layer, layer + experts, [](int64_t hits) { return hits > 0; });
    coverage.push_back(static_cast<double>(used) / experts);
  }
  return coverage;
}

}  // namespace

BatchMeter::BatchMeter(Engine& engine, bool coverage)
    : engine_(engine), start_(Clock::now()), first_(engine.stats()), last_(first_) {
  if (!coverage) return;
  recorder_ = std::make_shared<ProfileRecorder>(engine.identity());
  if (const absl::Status status = engine.Observe(recorder_); !status.ok()) {
    LogWarning("experts are not counted: {}", std::string(status.message()));
    recorder_ = nullptr;
  }
}

BatchMeter::~BatchMeter() {
  if (recorder_ != nullptr) (void)engine_.StopObserving(recorder_.get());
}

void BatchMeter::Sample() {
  const EngineStats now = engine_.stats();
  const LayerTimes times = engine_.layer_times();
  std::lock_guard lock(mutex_);
  AddTimes(now, times);
  const StepTotals steps = Since(last_.decode_steps, now.decode_steps);
  last_ = now;
  if (steps.steps == 0) return;
  sized_.push_back(
      {static_cast<double>(steps.rows) / static_cast<double>(steps.steps), steps.steps});
  if (sized_.size() < kMostSizes) return;
  for (size_t i = 0; i + 1 < sized_.size(); i += 2) {
    const Sized &a = sized_[i], &b = sized_[i + 1];
    const auto all = static_cast<double>(a.steps + b.steps);
    const auto rows =
        a.sequences * static_cast<double>(a.steps) + b.sequences * static_cast<double>(b.steps);
    sized_[i / 2] = {rows / all, a.steps + b.steps};
  }
  sized_.resize(sized_.size() / 2);
}

// REQUIRES: mutex_ is held. Layer times are averages of recent steps: their shares of the seconds
// since the last sample; and of mixed steps, whose seconds the engine does not count, their sum.
void BatchMeter::AddTimes(const EngineStats& now, const LayerTimes& times) {
  const LayerTimes::Of& decode = times.by_phase[static_cast<int>(Phase::kDecode)];
  const LayerTimes::Of& other = times.by_phase[static_cast<int>(Phase::kPrefill)];
  const double mixed_s = static_cast<double>(MixedSteps(now) - MixedSteps(last_)) *
                         (SumOf(other.dense_s) + SumOf(other.experts_s));
  const double decode_s = now.decode_steps.seconds - last_.decode_steps.seconds;
  const double other_s = now.prefill_steps.seconds - last_.prefill_steps.seconds + mixed_s;
  experts_s_ += decode_s * ExpertsShare(decode) + other_s * ExpertsShare(other);
  dense_s_ += decode_s * (1 - ExpertsShare(decode)) + other_s * (1 - ExpertsShare(other));
  mixed_s_ += mixed_s;
}

Spread BatchMeter::SpreadOfSequences() const {
  std::vector<Sized> sizes = sized_;
  std::ranges::sort(sizes, {}, &Sized::sequences);
  int64_t all = 0;
  double sum = 0;
  for (const Sized& size : sizes) {
    all += size.steps;
    sum += size.sequences * static_cast<double>(size.steps);
  }
  if (all == 0) return {};
  const auto at = [&](double share) {
    int64_t seen = 0;
    for (const Sized& size : sizes)
      if ((seen += size.steps) >= share * static_cast<double>(all)) return size.sequences;
    return sizes.back().sequences;
  };
  return {sum / static_cast<double>(all), at(0.1), at(0.5), at(0.9), sizes.back().sequences};
}

BatchMeasures BatchMeter::Measure() {
  Sample();
  BatchMeasures m;
  if (recorder_ != nullptr) {
    (void)engine_.BetweenSteps([&] { m.coverage = CoverageOf(recorder_->Snapshot()); });
  }
  std::lock_guard lock(mutex_);
  m.wall_s = std::chrono::duration<double>(Clock::now() - start_).count();
  m.prefill = Since(first_.prefill_steps, last_.prefill_steps);
  m.decode = Since(first_.decode_steps, last_.decode_steps);
  m.mixed_steps = MixedSteps(last_) - MixedSteps(first_);
  m.mixed_s = std::min(mixed_s_, m.wall_s - m.prefill.seconds - m.decode.seconds);
  m.prompt_tokens = last_.prompt_tokens - first_.prompt_tokens;
  m.cached_tokens = last_.cached_prompt_tokens - first_.cached_prompt_tokens;
  m.generated_tokens = last_.generated_tokens - first_.generated_tokens;
  m.preemptions = last_.preemptions - first_.preemptions;
  m.evicted_pages = last_.evicted_pages - first_.evicted_pages;
  m.sequences = SpreadOfSequences();
  m.dense_s = dense_s_;
  m.experts_s = experts_s_;
  return m;
}

}  // namespace tandem
