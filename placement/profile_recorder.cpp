#include "placement/profile_recorder.h"

#include <algorithm>
#include <bit>
#include <ctime>
#include <utility>

#include "placement/profile_windows.h"

namespace tandem {
namespace {

int PowerOfTwo(int64_t value, int buckets) {  // value > 0
  return std::min(static_cast<int>(std::bit_width(static_cast<uint64_t>(value))) - 1, buckets - 1);
}

Split SplitOf(uint64_t sequence) {
  return sequence % kHeldOutEvery == kHeldOutEvery - 1 ? Split::kHeldOut : Split::kTrain;
}

}  // namespace

ProfileRecorder::ProfileRecorder(const ModelIdentity& model, std::string default_label)
    : model_(model),
      default_label_(std::move(default_label)),
      cells_(int64_t{model.moe_layers()} * model.experts),
      began_unix_s_(std::time(nullptr)),
      step_(model),
      seen_in_step_(cells_),
      last_decoded_(cells_),
      reuse_(int64_t{model.moe_layers()} * kReuseBuckets),
      pairs_(model) {}

void ProfileRecorder::BeginStep(std::span<const RoutedRow> rows) { step_.Begin(rows); }

void ProfileRecorder::Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
                             View<const float, 2> weights) {
  step_.Add(layer, first_row, expert_ids, weights);
}

void ProfileRecorder::EndStep() {
  if (!step_.Finish()) {
    dropped_steps_.fetch_add(1, std::memory_order_relaxed);
    LogDroppedStep("expert profile", dropped_steps(), step_.problem());
    return;
  }
  const auto rows = std::ssize(step_.rows());
  if (rows == 0 || cells_ == 0) return;
  ++steps_;
  FindCounts();
  int64_t distinct = 0;
  for (int32_t layer = 0; layer < model_.moe_layers(); ++layer) {
    distinct += CountLayer(layer);
    if (!decoded_rows_.empty()) CountDecoded(layer);
  }
  decoded_ += std::ssize(decoded_rows_);
  CountDistinct(rows, distinct);
  EndWindow();
  pairs_.Sample(rows, step_.ids());
  tokens_.fetch_add(rows, std::memory_order_relaxed);
}

// Where each row is counted. Rows of a request follow one another, so a label is seldom looked up.
void ProfileRecorder::FindCounts() {
  const std::span<const RoutedRow> rows = step_.rows();
  // Labels first: a new one moves the counts of all.
  std::vector<int> labels(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    labels[i] =
        i > 0 && rows[i].label == rows[i - 1].label ? labels[i - 1] : LabelIndex(rows[i].label);
  row_counts_.clear();
  decoded_rows_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto [sequence, label, phase] = rows[i];
    auto& of_split = labels_[labels[i]].counts[static_cast<int>(SplitOf(sequence))];
    RoutingCounts& counts = of_split[static_cast<int>(phase)];
    if (counts.hits.empty()) {
      counts.hits.resize(cells_);
      counts.mass.resize(cells_);
    }
    ++counts.tokens;
    row_counts_.push_back(&counts);
    if (phase == Phase::kDecode) decoded_rows_.push_back(static_cast<int32_t>(i));
  }
}

int ProfileRecorder::LabelIndex(std::string_view label) {
  if (label.empty()) label = default_label_;
  const auto find = [&] {
    return std::find_if(labels_.begin(), labels_.end(),
                        [&](const LabelProfile& known) { return known.name == label; });
  };
  auto found = find();
  if (found == labels_.end() && std::ssize(labels_) >= kMaxLabels - 1) {
    label = kOtherLabels;
    found = find();
  }
  if (found == labels_.end()) {
    labels_.push_back({.name = std::string(label), .counts = {}});
    found = labels_.end() - 1;
  }
  return static_cast<int>(found - labels_.begin());
}

int64_t ProfileRecorder::CountLayer(int32_t moe_layer) {
  const int64_t cell = int64_t{moe_layer} * model_.experts;
  const int64_t stride = int64_t{model_.moe_layers()} * model_.top_k;
  const uint16_t* ids = step_.ids().data() + int64_t{moe_layer} * model_.top_k;
  const float* weights = step_.weights().data() + int64_t{moe_layer} * model_.top_k;
  int64_t* seen = seen_in_step_.data() + cell;
  int64_t distinct = 0;
  for (RoutingCounts* counts : row_counts_) {
    int64_t* hits = counts->hits.data() + cell;
    double* mass = counts->mass.data() + cell;
    for (int32_t k = 0; k < model_.top_k; ++k) {
      ++hits[ids[k]];
      mass[ids[k]] += weights[k];
      distinct += seen[ids[k]] != steps_;
      seen[ids[k]] = steps_;
    }
    ids += stride;
    weights += stride;
  }
  return distinct;
}

void ProfileRecorder::CountDecoded(int32_t moe_layer) {
  if (windows_.empty()) windows_.push_back({.hits = std::vector<int32_t>(cells_)});
  const int64_t cell = int64_t{moe_layer} * model_.experts;
  int32_t* window = windows_.back().hits.data() + cell;
  int64_t* last = last_decoded_.data() + cell;
  int64_t* reuse = reuse_.data() + int64_t{moe_layer} * kReuseBuckets;
  int64_t now = decoded_;
  for (const int32_t row : decoded_rows_) {
    ++now;
    const uint16_t* ids =
        step_.ids().data() + (int64_t{row} * model_.moe_layers() + moe_layer) * model_.top_k;
    for (int32_t k = 0; k < model_.top_k; ++k) {
      int64_t& used = last[ids[k]];
      const int64_t distance = std::max<int64_t>(now - used, 1);  // one token twice: as a neighbour
      ++reuse[used == 0 ? kReuseBuckets - 1 : PowerOfTwo(distance, kReuseBuckets)];
      used = now;
      ++window[ids[k]];
    }
  }
}

void ProfileRecorder::CountDistinct(int64_t rows, int64_t distinct) {
  DistinctExperts& bucket = distinct_[PowerOfTwo(rows, kRowBuckets)];
  ++bucket.steps;
  bucket.rows += rows;
  bucket.distinct += static_cast<double>(distinct) / model_.moe_layers();
}

void ProfileRecorder::EndWindow() {
  if (windows_.empty()) return;
  windows_.back().tokens += std::ssize(decoded_rows_);
  if (windows_.back().tokens < window_tokens_) return;
  if (std::ssize(windows_) == kMaxWindows) {
    MergeNeighbours(windows_);
    window_tokens_ *= 2;
  }
  windows_.push_back({.hits = std::vector<int32_t>(cells_)});
}

ExpertProfile ProfileRecorder::Snapshot() const {
  ExpertProfile profile{.model = model_,
                        .labels = labels_,
                        .distinct = distinct_,
                        .reuse = reuse_,
                        .pair_tokens = pairs_.tokens(),
                        .pairs = pairs_.Top(),
                        .window_tokens = window_tokens_,
                        .windows = windows_,
                        .recorded_unix_s = began_unix_s_};
  for (LabelProfile& label : profile.labels) {
    for (auto& split : label.counts) {
      for (RoutingCounts& counts : split) {
        counts.hits.resize(cells_);
        counts.mass.resize(cells_);
      }
    }
  }
  if (!profile.windows.empty() && profile.windows.back().tokens == 0) profile.windows.pop_back();
  return profile;
}

}  // namespace tandem
