#include "bench/calibrate_engine.h"

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "bench/calibration_samples.h"
#include "engine/engine_loop.h"

namespace tandem {
namespace {

constexpr int32_t kVocab = 64;
constexpr int32_t kManyRows = 32;
constexpr int32_t kTokens = 200;  // of a sequence

// Always the same logits, at no cost.
class IdleBackend final : public DenseBackend {
 public:
  IdleBackend() : logits_(int64_t{kLogitRows} * kVocab) {
    for (size_t i = 0; i < logits_.size(); i += kVocab) logits_[i + 1] = 1.0f;
  }
  absl::Status LoadGlobals(const GlobalWeights&) override { return absl::OkStatus(); }
  absl::Status LoadLayer(LayerId, const LayerWeights&) override { return absl::OkStatus(); }
  absl::Status BeginStep(const StepBatch&) override { return absl::OkStatus(); }
  void Attention(LayerId, int) override {}
  void DenseMlp(LayerId, int) override {}
  void Route(LayerId, int) override {}
  void SharedExperts(LayerId, int) override {}
  absl::StatusOr<RoutedTokens> Routed(LayerId, int) override { return RoutedTokens{}; }
  View<float, 2> ExpertSums(int) override { return {}; }
  void AddExperts(LayerId, int) override {}
  absl::StatusOr<View<const float, 2>> Logits(std::span<const int32_t> rows) override {
    return View<const float, 2>(logits_.data(), {std::ssize(rows), kVocab});
  }
  void CopyPage(int32_t, int32_t) override {}
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes() const override { return 0; }
  std::string description() const override { return "idle"; }

 private:
  std::vector<float> logits_;
};

// A letter per token.
class Letters final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool) const override {
    return std::vector<int32_t>(text.size(), 1);
  }
  std::string DecodeBytes(std::span<const int32_t> ids, bool) const override {
    return std::string(ids.size(), 'a');
  }
  int32_t vocab_size() const override { return kVocab; }
  std::optional<int32_t> SpecialId(std::string_view) const override { return std::nullopt; }
  bool IsSpecial(int32_t) const override { return false; }
  bool IsSkipped(int32_t) const override { return false; }
};

std::unique_ptr<Engine> IdleEngine(int threads) {
  EngineParts parts;
  ModelShape& shape = parts.config.shape;
  shape.layers = 1, shape.dense_layers = 1;
  shape.vocab = kVocab;
  shape.max_positions = 1024;
  parts.tokenizer = std::make_unique<Letters>();
  parts.team = std::make_unique<WorkerTeam>(WorkerTeamOptions{.workers = threads});
  EngineOptions options;
  options.max_sequences = kManyRows;
  parts.model = Model::Create(shape, options.max_step_tokens + kManyRows,
                              std::make_unique<IdleBackend>(), nullptr);
  parts.kv_pages = kManyRows * 8;
  return std::make_unique<EngineLoop>(std::move(parts), options);
}

// Seconds between two tokens while `rows` sequences run.
absl::StatusOr<double> StepSeconds(Engine& engine, int32_t rows) {
  using Clock = CalibrationClock;
  std::vector<std::promise<absl::Status>> ended(rows);
  Clock::time_point first{}, last{};
  int32_t tokens = 0;
  for (int32_t i = 0; i < rows; ++i) {
    GenerationRequest request;
    request.prompt_ids = {1, 2, 3};
    request.sampling.temperature = 0;
    request.max_tokens = kTokens;
    request.ignore_eos = true;
    // All of it on the engine's thread. The last sequence is timed once all have begun.
    request.on_event = [&, i](const GenerationEvent& event) {
      if (i + 1 == rows && !event.tokens.empty()) {
        last = Clock::now();
        if (tokens++ == 0) first = last;
      }
      if (event.finish) ended[i].set_value(event.status);
    };
    TANDEM_RETURN_IF_ERROR(engine.Submit(std::move(request)).status());
  }
  absl::Status status;
  for (auto& promise : ended) status.Update(promise.get_future().get());
  TANDEM_RETURN_IF_ERROR(status);
  return std::chrono::duration<double>(last - first).count() / std::max(1, tokens - 1);
}

}  // namespace

absl::StatusOr<EngineCalibration> CalibrateEngine(int threads, double seconds) {
  const std::unique_ptr<Engine> engine = IdleEngine(threads);
  Samples one, many;
  const auto begin = CalibrationClock::now();
  for (int round = 0; round < 3 || SecondsSince(begin) < seconds; ++round) {
    TANDEM_ASSIGN_OR_RETURN(const double one_s, StepSeconds(*engine, 1));
    TANDEM_ASSIGN_OR_RETURN(const double many_s, StepSeconds(*engine, kManyRows));
    one.Add(one_s);
    many.Add(many_s);
  }
  EngineCalibration result;
  result.row_us = std::max(0.0, (many.Typical() - one.Typical()) / (kManyRows - 1)) * 1e6;
  result.step_us = std::max(0.0, one.Typical() * 1e6 - result.row_us);
  return result;
}

}  // namespace tandem
