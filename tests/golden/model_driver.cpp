#include "tests/golden/model_driver.h"

#include <algorithm>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_loader.h"

namespace tandem::golden {
namespace {

constexpr int32_t kMaxRows = 512;         // of one step
constexpr int32_t kPagesPerSequence = 9;  // 576 tokens
constexpr int32_t kMaxSequences = 5;

int32_t ArgMax(const std::vector<float>& row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelDriver>> ModelDriver::Load(const std::string& dir,
                                                               const DrivenOptions& options) {
  auto driver = std::unique_ptr<ModelDriver>(new ModelDriver);
  TANDEM_ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(dir));
  driver->config_ = checkpoint->config();
  driver->team_ = std::make_unique<WorkerTeam>();
  const ModelShape& shape = driver->config_.shape;
  CpuExpertsOptions expert_options;
  expert_options.activations = options.activations;
  expert_options.max_tokens = kMaxRows;
  TANDEM_ASSIGN_OR_RETURN(
      auto experts, CpuExperts::Create(ExpertsShapeOf(shape), expert_options, *driver->team_));
  DeviceOptions device = options.gpu.value_or(DeviceOptions{.device = Device::kCpu});
  device.allow_emulated = true;
  TANDEM_ASSIGN_OR_RETURN(CreatedDense dense,
                          CreateDense({.shape = shape,
                                       .dtype = options.dense_dtype,
                                       .max_rows = kMaxRows,
                                       .max_sequences = kMaxSequences,
                                       .kv_tokens = kPagesPerSequence * kMaxSequences * kPageTokens,
                                       .expert_shards = experts->n_shards()},
                                      device, *driver->team_));
  LoadOptions load;
  std::optional<HotSet> hot_set;
  if (ExpertDevice* expert_device = dense.backend->expert_device(); expert_device != nullptr) {
    hot_set.emplace(shape, *expert_device, *experts, device.hot_experts_leave_ram);
    load.after_layer = [&, hot = SpreadHotExperts(shape, device.hot_fraction)](LayerId layer) {
      return hot_set->Add(layer, hot[layer.value]);
    };
  }
  TANDEM_RETURN_IF_ERROR(
      LoadModel(*checkpoint, dense.backend.get(), experts.get(), *driver->team_, load));
  driver->model_ =
      Model::Create(shape, kMaxRows, std::move(dense.backend), std::move(experts),
                    {.micro_batches = device.micro_batches,
                     .split = {.stream = device.stream,
                               .costs = {.cpu_expert_s = 1, .cpu_row_s = 1, .send_s = 1}},
                     .hot_experts_leave_ram = device.hot_experts_leave_ram});
  return driver;
}

// Neighbouring pages of a sequence lie far apart and in falling order: 4, 9, 14 ... never works by
// accident.
std::vector<int32_t> ModelDriver::PagesOf(int64_t sequence) const {
  std::vector<int32_t> pages;
  for (int32_t i = kPagesPerSequence - 1; i >= 0; --i) {
    pages.push_back(i * kMaxSequences + static_cast<int32_t>(sequence));
  }
  return pages;
}

bool ModelDriver::Step(std::span<DrivenSequence> sequences, int32_t chunk) {
  TANDEM_CHECK(sequences.size() <= kMaxSequences, "too many sequences for the pages");
  struct Wanted {
    DrivenSequence* sequence;
    int32_t position;
  };
  std::vector<std::vector<int32_t>> pages;
  std::vector<SequenceSlice> slices;
  std::vector<int32_t> ids, rows;
  std::vector<Wanted> wanted;
  for (size_t i = 0; i < sequences.size(); ++i) pages.push_back(PagesOf(i));
  for (size_t i = 0; i < sequences.size(); ++i) {
    DrivenSequence& sequence = sequences[i];
    const int32_t left = static_cast<int32_t>(sequence.ids.size()) - sequence.cached;
    const int32_t tokens = std::min(left, chunk);
    if (tokens == 0) continue;
    const auto first_row = static_cast<int32_t>(ids.size());
    slices.push_back({first_row, tokens, sequence.cached, pages[i]});
    for (int32_t t = 0; t < tokens; ++t) {
      const int32_t position = sequence.cached + t;
      ids.push_back(sequence.ids[position]);
      const bool last = t + 1 == left;
      if (!last && !sequence.wanted.count(position)) continue;
      rows.push_back(first_row + t);
      wanted.push_back({&sequence, position});
    }
    sequence.cached += tokens;
  }
  if (ids.empty()) return false;
  if (between_steps) between_steps(*model_);
  TANDEM_CHECK(model_->Forward({ids, slices}).ok(), "the experts are sound, the device answers");
  if (rows.empty()) return true;
  const View<const float, 2> logits = *model_->Logits(rows);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const float* row = logits.row(static_cast<int64_t>(i));
    wanted[i].sequence->logits[wanted[i].position].assign(row, row + logits.dim(1));
  }
  return true;
}

void ModelDriver::Greedy(std::span<DrivenSequence> sequences, int32_t chunk, int32_t steps) {
  std::vector<int32_t> generated(sequences.size());
  while (Step(sequences, chunk)) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      DrivenSequence& sequence = sequences[i];
      const auto length = static_cast<int32_t>(sequence.ids.size());
      if (sequence.cached < length || generated[i] == steps) continue;
      // The last greedy token is appended without being computed.
      sequence.ids.push_back(ArgMax(sequence.logits.at(length - 1)));
      if (++generated[i] == steps) sequence.cached = length + 1;
    }
  }
}

}  // namespace tandem::golden
