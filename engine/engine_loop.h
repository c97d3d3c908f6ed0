// class Engine itself: a thread that plans and runs one step after the other while there are
// requests, and rests on a condition variable while there are none.
//
// Callers' threads only put requests into the inbox. Everything else (scheduler, pages, model,
// worker team) belongs to the engine's thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "engine/engine.h"
#include "engine/hot_adaptation.h"
#include "engine/kv_pages.h"
#include "engine/model.h"
#include "engine/prefix_cache.h"
#include "engine/queue_bound.h"
#include "engine/scheduler.h"
#include "engine/step.h"

namespace tandem {

// What an engine is made of: files and machine for Create(), fakes for tests.
struct EngineParts {
  ModelConfig config;
  ModelIdentity identity;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<WorkerTeam> team;
  std::unique_ptr<Model> model;               // computes with `team`
  std::unique_ptr<HotAdaptation> adaptation;  // of `model`; null: off
  std::unique_ptr<PageStore> page_store;      // of `model`; null: none
  int64_t kv_pages = 0;
  std::string description;
  EngineOptions options;  // as the plan left them
};

// Loads a checkpoint, with all that `options` say.
absl::StatusOr<EngineParts> CreateEngineParts(const EngineOptions& options);

class EngineLoop : public Engine {
 public:
  // Uses of `options`: max_step_tokens, max_sequences, max_queue, prefix_cache, batch_step_ms,
  // batch_idle_step_ms.
  EngineLoop(EngineParts parts, const EngineOptions& options);
  // Ends what is in flight with kCancelled.
  ~EngineLoop() override;

  absl::StatusOr<std::shared_ptr<Generation>> Submit(GenerationRequest request) override;
  absl::StatusOr<std::vector<TokenScore>> Score(const std::vector<int32_t>& ids) override;
  absl::Status ReplaceHotExpert(LayerId layer, ExpertId out, ExpertId in) override;
  absl::Status Observe(std::shared_ptr<RoutingObserver> observer) override;
  absl::Status StopObserving(const RoutingObserver* observer) override;
  absl::Status BetweenSteps(std::function<void()> task) override;
  void PauseBatch(bool paused) override;
  const Tokenizer& tokenizer() const override { return *parts_.tokenizer; }
  const ModelConfig& config() const override { return parts_.config; }
  const ModelIdentity& identity() const override { return parts_.identity; }
  int64_t max_context() const override { return max_context_; }
  EngineStats stats() const override;
  LayerTimes layer_times() const override { return parts_.model->layer_times(); }
  std::string description() const override { return parts_.description; }

 private:
  absl::Status PutIntoInbox(std::unique_ptr<Sequence> sequence);
  EngineStats StatsWithInbox() const;
  bool TakeInbox();
  void RunBetweenSteps();
  void Run();
  void Step();
  StepCounts RunStep(const std::vector<PlannedSlice>& plan);
  void PublishQueue();
  void Publish(const StepCounts& counts, double seconds);

  EngineParts parts_;
  const int64_t max_context_;
  const bool caches_prefixes_;
  std::vector<int32_t> end_ids_;
  KvPages pages_;
  PrefixCache prefix_cache_;
  Scheduler scheduler_;
  StepRunner runner_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::vector<std::unique_ptr<Sequence>> inbox_;
  std::vector<std::function<void()>> between_steps_;  // for the engine's thread
  int32_t scheduled_ = 0;                             // requests the scheduler holds
  bool has_work_ = false;                             // and can do something for one of them
  bool batch_paused_ = false;
  uint64_t next_number_ = 0;  // of a request
  bool stopping_ = false;
  std::mt19937_64 seeds_{std::random_device{}()};
  EngineStats stats_;
  QueueBound queue_bound_;
  Clock::time_point places_told_{};

  std::thread thread_;
};

}  // namespace tandem
