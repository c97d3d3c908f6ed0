// A dense backend whose logits are a known function of the whole token history, read back from the
// pages: a wrong page table, a page given to two sequences, or a row in the wrong place changes the
// answer. Everything else of the engine runs for real.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/engine_loop.h"

namespace tandem::testing {

inline constexpr int32_t kFakeVocab = 97;
inline constexpr int32_t kFakeEnd = 96;  // "<|im_end|>"

// Hash of a token history, computed one token after the other.
inline uint64_t HashNext(uint64_t hash, int32_t id) {
  hash = (hash ^ static_cast<uint64_t>(id + 1)) * 0x9e3779b97f4a7c15ull;
  return hash ^ (hash >> 29);
}

// The fake model itself: logits after a history. `end_bias` makes the end token more likely.
inline void FakeLogits(uint64_t hash, float end_bias, float* logits) {
  for (int32_t id = 0; id < kFakeVocab; ++id)
    logits[id] = static_cast<float>(HashNext(hash, id) >> 40) * 0x1p-22f - 2.0f;
  logits[kFakeEnd] += end_bias;
}

struct FakeControls {
  bool on_a_device = false;  // whether pages can be kept in RAM besides
  float end_bias = -10.0f;
  std::chrono::microseconds step_time{0};
  std::atomic<int> steps{0};
  std::atomic<int> largest_step{0};
  std::atomic<int> throw_at_step{-1};
  std::atomic<int32_t> nan_after_id{-1};  // rows of this token have a NaN logit
};

// Of a cache that is the token at each place of each page.
class FakePageStore : public PageStore {
 public:
  FakePageStore(std::vector<int32_t>& cache, int32_t places)
      : cache_(cache), stored_(int64_t{places} * kPageTokens, -1) {}
  int32_t places() const override { return static_cast<int32_t>(stored_.size()) / kPageTokens; }
  int64_t bytes() const override { return std::ssize(stored_) * int64_t{sizeof(int32_t)}; }
  void Save(int32_t page, int32_t place) override { Copy(cache_, page, stored_, place); }
  void Load(int32_t place, int32_t page) override { Copy(stored_, place, cache_, page); }

 private:
  static void Copy(const std::vector<int32_t>& from, int32_t at, std::vector<int32_t>& to,
                   int32_t where) {
    std::copy_n(from.begin() + int64_t{at} * kPageTokens, kPageTokens,
                to.begin() + int64_t{where} * kPageTokens);
  }
  std::vector<int32_t>& cache_;
  std::vector<int32_t> stored_;
};

class FakeBackend : public DenseBackend {
 public:
  FakeBackend(int64_t kv_pages, std::shared_ptr<FakeControls> controls)
      : cache_(kv_pages * kPageTokens, -1), controls_(std::move(controls)) {}

  absl::Status LoadGlobals(const GlobalWeights&) override { return absl::OkStatus(); }
  absl::Status LoadLayer(LayerId, const LayerWeights&) override { return absl::OkStatus(); }

  absl::Status BeginStep(const StepBatch& batch) override {
    const int rows = static_cast<int>(batch.token_ids.size());
    if (controls_->steps++ == controls_->throw_at_step) throw std::runtime_error("the fake broke");
    controls_->largest_step = std::max<int>(controls_->largest_step, rows);
    if (controls_->step_time.count() > 0) std::this_thread::sleep_for(controls_->step_time);
    rows_.assign(rows, {});
    int32_t next_row = 0;
    for (const SequenceSlice& slice : batch.sequences) {
      TANDEM_CHECK(slice.first_row == next_row, "slices come in row order and cover all rows");
      next_row += slice.tokens;
      Append(slice, batch.token_ids);
    }
    TANDEM_CHECK(next_row == rows, "slices cover all rows");
    return absl::OkStatus();
  }
  void Attention(LayerId, int) override {}
  void DenseMlp(LayerId, int) override {}
  void Route(LayerId, int) override {}
  void SharedExperts(LayerId, int) override {}
  absl::StatusOr<RoutedTokens> Routed(LayerId, int) override { return RoutedTokens{}; }
  View<float, 2> ExpertSums(int) override { return {}; }
  void AddExperts(LayerId, int) override {}

  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows) override {
    TANDEM_CHECK(rows.size() <= kLogitRows, "the head is asked in blocks");
    logits_.resize(rows.size() * kFakeVocab);
    for (size_t i = 0; i < rows.size(); ++i) {
      float* logits = logits_.data() + i * kFakeVocab;
      FakeLogits(rows_[rows[i]].hash, controls_->end_bias, logits);
      if (rows_[rows[i]].id == controls_->nan_after_id) logits[5] = NAN;
    }
    return View<const float, 2>(logits_.data(), {static_cast<int64_t>(rows.size()), kFakeVocab});
  }
  void CopyPage(int32_t from, int32_t to) override {
    const auto page = [&](int32_t number) {
      return cache_.begin() + int64_t{number} * kPageTokens;
    };
    std::copy_n(page(from), kPageTokens, page(to));
  }
  absl::StatusOr<std::unique_ptr<PageStore>> MakePageStore(int32_t places) override {
    if (!controls_->on_a_device) return nullptr;
    return std::make_unique<FakePageStore>(cache_, places);
  }
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes() const override { return 0; }
  std::string description() const override { return "fake"; }

 private:
  struct Row {
    uint64_t hash = 0;
    int32_t id = 0;
  };
  void Append(const SequenceSlice& slice, std::span<const int32_t> ids) {
    const auto at = [&](int32_t position) -> int32_t& {
      return cache_[int64_t{slice.pages[position / kPageTokens]} * kPageTokens +
                    position % kPageTokens];
    };
    uint64_t hash = 0;
    for (int32_t p = 0; p < slice.kv_len; ++p) hash = HashNext(hash, at(p));
    for (int32_t i = 0; i < slice.tokens; ++i) {
      const int32_t id = ids[slice.first_row + i];
      at(slice.kv_len + i) = id;
      hash = HashNext(hash, id);
      rows_[slice.first_row + i] = {hash, id};
    }
  }

  std::vector<int32_t> cache_;  // the token at each place of each page
  std::shared_ptr<FakeControls> controls_;
  std::vector<Row> rows_;
  std::vector<float> logits_;
};

// Token id i is the letter 'a' + i % 26, kFakeEnd is special.
class FakeTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    for (char c : text) ids.push_back(c - 'a');
    return ids;
  }
  std::string DecodeBytes(std::span<const int32_t> ids, bool skip_special) const override {
    std::string bytes;
    for (int32_t id : ids)
      if (!(id == kFakeEnd && skip_special)) bytes.push_back(static_cast<char>('a' + id % 26));
    return bytes;
  }
  int32_t vocab_size() const override { return kFakeVocab; }
  std::optional<int32_t> SpecialId(std::string_view text) const override {
    return text == "<|im_end|>" ? std::optional<int32_t>(kFakeEnd) : std::nullopt;
  }
  bool IsSpecial(int32_t id) const override { return id == kFakeEnd; }
  bool IsSkipped(int32_t id) const override { return id == kFakeEnd; }
};

struct FakeEngineOptions {
  EngineOptions engine;
  int64_t kv_pages = 64;
  int64_t context = 1024;
  int workers = 2;
};

inline std::unique_ptr<Engine> MakeFakeEngine(const FakeEngineOptions& options,
                                              std::shared_ptr<FakeControls> controls) {
  EngineParts parts;
  ModelShape& shape = parts.config.shape;
  shape.hidden = 32;
  shape.layers = shape.dense_layers = 1;
  shape.vocab = kFakeVocab;
  shape.max_positions = options.context;
  parts.tokenizer = std::make_unique<FakeTokenizer>();
  parts.team = std::make_unique<WorkerTeam>(WorkerTeamOptions{.workers = options.workers});
  const int32_t max_rows = options.engine.max_step_tokens + options.engine.max_sequences;
  parts.model = Model::Create(shape, max_rows,
                              std::make_unique<FakeBackend>(options.kv_pages, controls), nullptr);
  if (options.engine.kv_ram_tokens > 0) {
    parts.page_store =
        *parts.model->MakePageStore(static_cast<int32_t>(PagesFor(options.engine.kv_ram_tokens)));
  }
  parts.kv_pages = options.kv_pages;
  parts.description = "fake";
  return std::make_unique<EngineLoop>(std::move(parts), options.engine);
}

}  // namespace tandem::testing
