#include "engine/engine_loop.h"

#include <algorithm>
#include <exception>
#include <future>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "engine/request_check.h"

namespace tandem {
namespace {

// The model's end tokens: those of its config, and the two that end a turn of chat.
std::vector<int32_t> EndIds(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = config.eos_ids;
  for (const char* text : {"<|im_end|>", "[EOS]"})
    if (const auto id = tokenizer.SpecialId(text)) ids.push_back(*id);
  return ids;
}

std::unique_ptr<PageTier> TierOver(std::unique_ptr<PageStore> store) {
  return store == nullptr ? nullptr : std::make_unique<PageTier>(std::move(store));
}

int64_t MaxContext(const ModelConfig& config, int64_t kv_pages) {
  // The last token of a sequence is never cached.
  return std::min<int64_t>(config.shape.max_positions, kv_pages * kPageTokens + 1);
}

}  // namespace

EngineLoop::EngineLoop(EngineParts parts, const EngineOptions& options)
    : parts_(std::move(parts)),
      max_context_(MaxContext(parts_.config, parts_.kv_pages)),
      caches_prefixes_(options.prefix_cache),
      end_ids_(EndIds(parts_.config, *parts_.tokenizer)),
      pages_(parts_.kv_pages),
      prefix_cache_(pages_, PageHasher(Describe(parts_.identity)),
                    TierOver(std::move(parts_.page_store))),
      scheduler_({.prefill_chunk = options.max_step_tokens,
                  .max_sequences = options.max_sequences,
                  .batch_step_s = options.batch_step_ms / 1000,
                  .batch_idle_step_s = options.batch_idle_step_ms / 1000},
                 prefix_cache_,
                 [this](int32_t from, int32_t to) { parts_.model->CopyPage(from, to); }),
      runner_(*parts_.model, *parts_.team),
      queue_bound_(options.max_sequences, options.max_queue) {
  stats_.kv_pages_total = pages_.total();
  if (prefix_cache_.tier() != nullptr) stats_.ram_pages_total = prefix_cache_.tier()->total();
  if (parts_.adaptation != nullptr) runner_.routing().Add(parts_.adaptation->adapter());
  thread_ = std::thread([this] { Run(); });
}

EngineLoop::~EngineLoop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
  if (pages_.used() != 0) LogError("{} pages of latent cache were not given back", pages_.used());
}

absl::StatusOr<std::shared_ptr<Generation>> EngineLoop::Submit(GenerationRequest request) {
  TANDEM_RETURN_IF_ERROR(Validate(request, parts_.config.shape.vocab, max_context_));
  uint64_t seed;
  if (request.sampling.seed) {
    seed = *request.sampling.seed;
  } else {
    std::lock_guard lock(mutex_);
    seed = seeds_();
  }
  auto handle = std::make_shared<GenerationHandle>();
  Sequence::Limits limits{max_context_, {}};
  if (!request.ignore_eos) limits.end_ids = end_ids_;
  std::string salt = std::move(request.cache_salt);
  auto sequence = std::make_unique<Sequence>(std::move(request), seed, *parts_.tokenizer,
                                             std::move(limits), handle);
  if (caches_prefixes_)
    sequence->set_chain(prefix_cache_.MakeChain(std::move(salt), sequence->ids()));
  TANDEM_RETURN_IF_ERROR(PutIntoInbox(std::move(sequence)));
  return handle;
}

absl::StatusOr<std::vector<TokenScore>> EngineLoop::Score(const std::vector<int32_t>& ids) {
  TANDEM_RETURN_IF_ERROR(ValidatePrompt(ids, parts_.config.shape.vocab,
                                        std::min(max_context_, pages_.total() * kPageTokens)));
  std::promise<ScoreResult> promise;
  TANDEM_RETURN_IF_ERROR(PutIntoInbox(std::make_unique<Sequence>(
      ids, *parts_.tokenizer,
      [&promise](ScoreResult result) { promise.set_value(std::move(result)); })));
  ScoreResult result = promise.get_future().get();
  TANDEM_RETURN_IF_ERROR(result.status);
  return std::move(result.scores);
}

absl::Status EngineLoop::BetweenSteps(std::function<void()> task) {
  std::promise<void> done;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return absl::UnavailableError("the engine is shutting down");
    between_steps_.push_back([&] {
      task();
      done.set_value();
    });
  }
  work_.notify_one();
  done.get_future().wait();
  return absl::OkStatus();
}

absl::Status EngineLoop::ReplaceHotExpert(LayerId layer, ExpertId out, ExpertId in) {
  absl::Status replaced;
  TANDEM_RETURN_IF_ERROR(BetweenSteps([&] {
    replaced = parts_.model->ReplaceHotExpert(layer, out, in);
    if (replaced.ok() && parts_.adaptation != nullptr)
      parts_.adaptation->NoteReplaced(layer, out, in);
  }));
  return replaced;
}

absl::Status EngineLoop::Observe(std::shared_ptr<RoutingObserver> observer) {
  return BetweenSteps([&] { runner_.routing().Add(std::move(observer)); });
}

absl::Status EngineLoop::StopObserving(const RoutingObserver* observer) {
  return BetweenSteps([&] { runner_.routing().Remove(observer); });
}

void EngineLoop::PauseBatch(bool paused) {
  {
    std::lock_guard lock(mutex_);
    batch_paused_ = stats_.batch_paused = paused;
  }
  work_.notify_one();
}

void EngineLoop::RunBetweenSteps() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(between_steps_);
  }
  for (const auto& task : tasks) task();
}

absl::Status EngineLoop::PutIntoInbox(std::unique_ptr<Sequence> sequence) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return absl::UnavailableError("the engine is shutting down");
    const Clock::time_point now = Clock::now();
    const EngineStats stats = StatsWithInbox();
    TANDEM_RETURN_IF_ERROR(queue_bound_.Check(sequence->priority(),
                                              scheduled_ + static_cast<int32_t>(inbox_.size()),
                                              stats.waiting_by_priority, now));
    sequence->set_number(next_number_++);
    sequence->set_place({stats.waiting + 1, (stats.waiting + 1) * queue_bound_.seconds_each(now)});
    inbox_.push_back(std::move(sequence));
  }
  work_.notify_one();
  return absl::OkStatus();
}

// REQUIRES: mutex_ is held.
EngineStats EngineLoop::StatsWithInbox() const {
  EngineStats stats = stats_;
  stats.waiting += static_cast<int32_t>(inbox_.size());
  for (const auto& sequence : inbox_)
    ++stats.waiting_by_priority[static_cast<int>(sequence->priority())];
  return stats;
}

EngineStats EngineLoop::stats() const {
  std::lock_guard lock(mutex_);
  return StatsWithInbox();
}

// Moves new requests to the scheduler, first waiting for one if there is nothing to do. False at
// the end of the engine.
bool EngineLoop::TakeInbox() {
  // Those that are paused may be cancelled or too late meanwhile, and nobody says so.
  constexpr auto kLookAtPausedEvery = std::chrono::milliseconds(20);
  std::unique_lock lock(mutex_);
  const auto ready = [this] {
    return stopping_ || has_work_ || (scheduled_ > 0 && !batch_paused_) || !inbox_.empty() ||
           !between_steps_.empty();
  };
  if (scheduled_ > 0) {
    work_.wait_for(lock, kLookAtPausedEvery, ready);
  } else {
    work_.wait(lock, ready);
  }
  for (auto& sequence : inbox_) scheduler_.Enqueue(std::move(sequence));
  inbox_.clear();
  scheduler_.PauseBatch(batch_paused_);
  // With the inbox empty, these are all that stats() shows: a request is always somewhere.
  PublishQueue();
  return !stopping_;
}

void EngineLoop::Run() {
  parts_.team->PinCaller();
  std::unique_ptr<WorkerTeam::Awake> awake;  // while there is work, the team does not sleep
  while (TakeInbox()) {
    RunBetweenSteps();
    if (parts_.adaptation != nullptr) parts_.adaptation->BetweenSteps();
    if (!scheduler_.has_work()) {
      awake.reset();
    } else if (awake == nullptr) {
      awake = std::make_unique<WorkerTeam::Awake>(*parts_.team);
    }
    Step();
  }
  RunBetweenSteps();
  scheduler_.EndAll(FinishReason::kCancelled, absl::OkStatus(), Clock::now());
  Publish({}, 0);
}

void EngineLoop::Step() {
  const Clock::time_point now = Clock::now();
  scheduler_.EndInterrupted(now);
  const StepCounts counts = RunStep(scheduler_.Plan(now));
  scheduler_.Reap();
  const double seconds = std::chrono::duration<double>(Clock::now() - now).count();
  // A scoring wants logits of all its rows, so its steps say nothing about others.
  if (counts.rows() > 0 && counts.scores == 0)
    scheduler_.NoteStep(static_cast<int32_t>(counts.rows()), seconds);
  Publish(counts, seconds);
}

StepCounts EngineLoop::RunStep(const std::vector<PlannedSlice>& plan) {
  if (plan.empty()) return {};
  std::string thrown;
  try {
    return runner_.Run(plan);
  } catch (const std::exception& e) {
    thrown = e.what();
  }
  LogError("a step failed: {}", thrown);
  for (const PlannedSlice& slice : plan)
    if (!slice.sequence->ended())
      slice.sequence->End(FinishReason::kError,
                          absl::InternalError(absl::StrCat("the step failed: ", thrown)),
                          Clock::now());
  return {};
}

// REQUIRES: mutex_ is held.
void EngineLoop::PublishQueue() {
  stats_.waiting_by_priority = scheduler_.waiting().by_priority();
  stats_.waiting = scheduler_.waiting().size();
  stats_.running = scheduler_.running();
  scheduled_ = stats_.waiting + stats_.running;
  has_work_ = scheduler_.has_work();
}

void EngineLoop::Publish(const StepCounts& counts, double seconds) {
  std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  const int32_t before = scheduled_;
  PublishQueue();
  queue_bound_.NoteStep(before - scheduled_, stats_.waiting, now);
  constexpr auto kTellEvery = std::chrono::milliseconds(10);
  if (stats_.waiting > 0 && now - places_told_ >= kTellEvery) {
    scheduler_.TellPlaces(queue_bound_.seconds_each(now));
    places_told_ = now;
  }
  stats_.kv_pages_used = pages_.used();
  stats_.kv_pages_cached = pages_.idle();
  stats_.evicted_pages = prefix_cache_.evicted();
  if (const PageTier* tier = prefix_cache_.tier()) {
    stats_.ram_pages_used = tier->used();
    stats_.pages_saved = tier->saved();
    stats_.pages_loaded = tier->loaded();
  }
  stats_.preemptions = scheduler_.preemptions();
  stats_.cached_prompt_tokens = scheduler_.cached_prompt_tokens();
  stats_.routed_pairs = runner_.routing().pairs().all;
  stats_.hot_pairs = runner_.routing().pairs().hot;
  if (parts_.adaptation != nullptr) stats_.adaptation = parts_.adaptation->stats();
  stats_.steps += counts.prompt_tokens + counts.generated_tokens > 0;
  if (counts.rows() > 0) {
    StepTotals& totals = counts.prompt_tokens == 0 ? stats_.decode_steps
                         : counts.decode_rows == 0 ? stats_.prefill_steps
                                                   : stats_.mixed_steps;
    ++totals.steps;
    totals.rows += counts.rows();
    totals.cached_tokens += counts.cached_tokens;
    totals.seconds += seconds;
  }
  stats_.prompt_tokens += counts.prompt_tokens;
  stats_.generated_tokens += counts.generated_tokens;
}

}  // namespace tandem
