// An Engine without a model: answers with scripted text, one token per sequence and step, on a
// thread of its own, as the real one does. For tests of what stands in front of an engine.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace tandem {

// Token ids 0..255 are bytes; Kimi's control tokens follow.
class FakeTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool parse_special) const override;
  std::string DecodeBytes(std::span<const int32_t> ids, bool skip_special) const override;
  int32_t vocab_size() const override;
  std::optional<int32_t> SpecialId(std::string_view text) const override;
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  bool IsSkipped(int32_t id) const override;
};

class FakeEngine final : public Engine {
 public:
  struct Script {
    // The answer to a prompt, control tokens written out. Default: the prompt itself.
    std::function<std::string(const std::string& prompt)> answer = {};
    std::chrono::microseconds step_time{0};
    int32_t max_queue = 256;
    // What Submit() says of a prompt instead of taking it; OK: it is taken.
    std::function<absl::Status(const std::string& prompt)> refuse = {};
  };

  explicit FakeEngine(Script script);
  ~FakeEngine() override;

  absl::StatusOr<std::shared_ptr<Generation>> Submit(GenerationRequest request) override;
  absl::Status ReplaceHotExpert(LayerId, ExpertId, ExpertId) override {
    return absl::InvalidArgumentError("no device holds experts");
  }
  // Every token is routed to the same experts: its id's remainders.
  absl::Status Observe(std::shared_ptr<RoutingObserver> observer) override;
  absl::Status StopObserving(const RoutingObserver* observer) override;
  absl::Status BetweenSteps(std::function<void()> task) override {
    task();
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<TokenScore>> Score(const std::vector<int32_t>&) override;
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const ModelConfig& config() const override { return config_; }
  const ModelIdentity& identity() const override { return identity_; }
  int64_t max_context() const override { return 1 << 20; }
  EngineStats stats() const override;
  LayerTimes layer_times() const override;  // as if layer l took l milliseconds on either side
  std::string description() const override { return "scripted"; }

  // Whether, within ten seconds, so many sequences have come to their end and none is running.
  bool HasFinished(size_t count);
  std::vector<FinishReason> finished() const;  // in order
  size_t n_observers();
  GenerationRequest last_request() const;  // that was submitted

 private:
  struct Sequence;
  void Run();
  bool Step(Sequence& sequence);  // false: that was the last event
  void TellObservers(const Sequence& sequence);

  const Script script_;
  FakeTokenizer tokenizer_;
  ModelConfig config_;
  // Two MoE layers of eight experts, two per token.
  const ModelIdentity identity_ = {.architecture = "fake",
                                   .layers = 3,
                                   .dense_layers = 1,
                                   .experts = 8,
                                   .top_k = 2,
                                   .router_hash = 1};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<std::shared_ptr<Sequence>> running_;
  std::vector<FinishReason> finished_;
  GenerationRequest last_request_;
  int64_t generated_ = 0;
  bool closed_ = false;
  std::mutex observers_mutex_;
  std::vector<std::shared_ptr<RoutingObserver>> observers_;
  std::thread thread_;
};

}  // namespace tandem
