#include "engine/hot_adaptation.h"

#include <algorithm>

#include "core/log.h"

namespace tandem {

HotAdaptation::HotAdaptation(AdaptMode mode, const ModelIdentity& identity, const HotExperts& hot,
                             const AdapterOptions& options, Model& model)
    : mode_(mode),
      model_(model),
      adapter_(std::make_shared<ExpertAdapter>(identity, hot, options)) {}

void HotAdaptation::BetweenSteps() {
  Finish();
  // A round waits for the one before: what it would build on is not there yet.
  if (waiting_.empty() && under_way_.empty() && adapter_->due()) Suggest(adapter_->Propose());
  BeginWaiting();
}

void HotAdaptation::Finish() {
  if (under_way_.empty()) return;
  for (const FinishedReplacement& finished : model_.FinishReplaces()) {
    const auto swap = std::ranges::find_if(under_way_, [&](const ExpertSwap& s) {
      return HotReplacement{s.layer, s.out, s.in} == finished.what;
    });
    TANDEM_CHECK(swap != under_way_.end(), "only what was begun is finished");
    if (finished.status.ok()) {
      adapter_->Done(*swap);
      ++stats_.done;
      stats_.bytes += swap->bytes;
      stats_.copy_s += finished.seconds;
    } else {
      Drop(*swap, finished.status);
    }
    under_way_.erase(swap);
  }
}

void HotAdaptation::Suggest(const std::vector<ExpertSwap>& swaps) {
  ++stats_.rounds;
  if (swaps.empty()) return;
  double gain_s = 0;
  int64_t bytes = 0;
  for (const ExpertSwap& swap : swaps) {
    gain_s += swap.gain_s;
    bytes += swap.bytes;
  }
  stats_.suggested += std::ssize(swaps);
  stats_.expected_gain_s += gain_s;
  const ExpertSwap& first = swaps.front();
  LogInfo(
      "hot experts, after {} decoded tokens: {} to exchange {} ({:.1f} MB), {:.3f} s less over the "
      "next {}; the first: layer {}, {} for {}",
      adapter_->decoded_tokens(), mode_ == AdaptMode::kOn ? "begins" : "suggests", swaps.size(),
      bytes * 1e-6, gain_s, adapter_->options().horizon_tokens, first.layer.value, first.in.value,
      first.out.value);
  if (mode_ == AdaptMode::kOn) {
    waiting_.assign(swaps.begin(), swaps.end());
    return;
  }
  // What would come next is told as if these had been done.
  for (const ExpertSwap& swap : swaps) adapter_->Done(swap);
}

void HotAdaptation::BeginWaiting() {
  while (!waiting_.empty()) {
    const ExpertSwap swap = waiting_.front();
    const absl::Status status = model_.BeginReplace({swap.layer, swap.out, swap.in});
    if (status.code() == absl::StatusCode::kResourceExhausted && !under_way_.empty()) return;
    waiting_.pop_front();
    if (status.ok()) {
      under_way_.push_back(swap);
    } else {
      Drop(swap, status);
    }
  }
}

void HotAdaptation::Drop(const ExpertSwap& swap, const absl::Status& why) {
  adapter_->Dropped(swap);
  ++stats_.dropped;
  LogWarning("layer {}: expert {} does not take the place of {}: {}", swap.layer.value,
             swap.in.value, swap.out.value, std::string(why.message()));
}

void HotAdaptation::NoteReplaced(LayerId layer, ExpertId out, ExpertId in) {
  if (adapter_->IsHot(layer, out) && !adapter_->IsHot(layer, in))
    adapter_->Done({.layer = layer, .out = out, .in = in});
}

}  // namespace tandem
