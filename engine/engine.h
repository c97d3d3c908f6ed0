// The one class that service, tools and tests talk to. Thread-safe.
//
// Submit() puts a request into the continuous-batching loop, which runs on the engine's own thread
// and reports tokens through the request's callback.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/model_shape.h"
#include "core/status.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/expert_load_options.h"
#include "engine/checkpoint/model_config.h"
#include "engine/device_options.h"
#include "engine/layer_times.h"
#include "engine/sampling.h"
#include "engine/stop_matcher.h"
#include "engine/text/chat_format.h"
#include "engine/text/tokenizer.h"
#include "engine/token_constraint.h"
#include "gpu_attention/dense_backend.h"
#include "placement/model_identity.h"
#include "placement/routing_observer.h"

namespace tandem {

struct Plan;

struct EngineOptions {
  std::string model_dir;
  DenseDType dense_dtype = DenseDType::kBf16;
  ExpertActivations expert_activations = ExpertActivations::kInt8;
  std::string kernel;             // expert kernel; "" = best
  int32_t threads = 0;            // 0: one per physical core
  int64_t kv_tokens = 0;          // capacity of the latent cache; 0: chosen from model and free RAM
  int64_t kv_ram_tokens = 0;      // with a GPU: what had to leave its cache and is kept in RAM
  int32_t max_step_tokens = 512;  // prefill rows of one step; decode rows come on top
  int32_t max_sequences = 64;     // running at once, so the most decode rows of a step
  int32_t max_queue = 256;        // waiting beyond those; more are refused, RESOURCE_EXHAUSTED
  bool prefix_cache = true;       // prompts that begin alike are computed once
  // Batch work leaves a step room to end within so many milliseconds (engine/batch_pace.h); 0: it
  // takes all that a step may hold, which is fastest where nobody else waits.
  double batch_step_ms = 0;
  // The same once nobody but batch work has been there for ten seconds, if it is more: who comes
  // then waits once for a longer step, and until then batch work shares more of what it reads.
  double batch_idle_step_ms = 0;
  ExpertLoadOptions expert_load;       // of a packed image
  ExpertPlacements expert_placements;  // on NUMA nodes; empty: a shard of each on every node
  DeviceOptions device;
  // What placement decided (engine/apply_plan.h); null: nothing did.
  std::shared_ptr<const Plan> plan;
  bool show_progress = false;  // loading: rate and ETA on stderr
};

enum class FinishReason { kStop, kLength, kCancelled, kDeadline, kError };

// An end token (the model's or one of stop_ids) counts as a completion token but gives no text.
struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache instead of computed
  int32_t completion_tokens = 0;
  double queue_s = 0, prefill_s = 0, decode_s = 0;
};

// Where a prompt left what the prefix cache holds: up to `position` both are the same.
struct CacheDivergence {
  int32_t position;                     // in the prompt, in tokens
  std::vector<int32_t> cached, prompt;  // the first ids from there on, some ten of each
};

// One report. `text` is valid UTF-8; concatenated over a generation it is the whole answer, without
// stop strings and stop tokens. A token whose text is held back (half a UTF-8 sequence, possible
// stop string) comes with its ids first and its text later.
struct GenerationEvent {
  std::vector<GeneratedToken> tokens;
  std::string text;
  // Set on the last event only.
  std::optional<FinishReason> finish;
  std::string stop_string;  // the stop string that ended it, if one did
  absl::Status status;      // not OK with kError
  Usage usage;
  // On the last event, if part of a cached page was like the prompt and the rest was not.
  std::optional<CacheDivergence> divergence;
};

// Who goes first. A request takes the place of running ones of lower priority if there is no other
// room; those go on later where they were. Batch work gets what the others leave of a step, and can
// be paused as a whole.
enum class Priority { kInteractive, kNormal, kBatch };
inline constexpr int kPriorities = 3;

struct GenerationRequest {
  std::vector<int32_t> prompt_ids;
  SamplingParams sampling;
  int32_t max_tokens = 0;         // 0: as many as the context allows
  std::vector<std::string> stop;  // not part of the answer
  StopScope stop_scope;           // of these; of a chat: ChatStopScope() (text/text_stream.h)
  std::vector<int32_t> stop_ids;  // besides the model's own end tokens
  bool ignore_eos = false;        // go on past the model's end tokens
  bool skip_special = true;       // leave control tokens out of the text
  std::string label;              // what expert profiles count it under
  Priority priority = Priority::kNormal;
  // Requests of one name share what their priority gets as one party among all; "" is a name too.
  std::string fair_share;
  // Prefixes are shared only between requests of the same salt, so that nobody learns from the time
  // an answer takes what others have asked.
  std::string cache_salt;
  // What tokens may come next; null: any. Not shared between requests.
  std::shared_ptr<TokenConstraint> constraint;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // Called on the engine's thread, in order, the last time with `finish` set; must not block and
  // must not call into the Engine except Generation::Cancel(). If it throws, the request is
  // cancelled.
  std::function<void(const GenerationEvent&)> on_event;
};

// How long a request will have to wait, as far as can be told.
struct QueuePlace {
  int32_t position = 0;  // 1: the next to be admitted; 0: it runs, or has ended
  double wait_s = 0;     // estimate, by the recent pace
};

// Handle of a submitted request. Dropping it does not cancel.
class Generation {
 public:
  virtual ~Generation() = default;
  virtual void Cancel() = 0;             // any thread; the last event follows, with kCancelled
  virtual QueuePlace place() const = 0;  // any thread
};

// Steps of a kind, added up.
struct StepTotals {
  int64_t steps = 0;
  int64_t rows = 0;
  int64_t cached_tokens = 0;  // what the rows' sequences had cached, a sum over rows
  double seconds = 0;
};

// What adapting the hot experts has done so far (DeviceOptions::adapt).
struct AdaptationStats {
  int64_t rounds = 0;          // in which swaps were looked for
  int64_t suggested = 0;       // swaps found to pay
  double expected_gain_s = 0;  // of these, each over the horizon
  int64_t done = 0, dropped = 0;
  int64_t bytes = 0;  // sent for those done
  double copy_s = 0;  // that sending took, beside the steps
};

// As of the end of the last step.
struct EngineStats {
  int32_t running = 0, waiting = 0;
  bool batch_paused = false;  // as asked for
  std::array<int32_t, kPriorities> waiting_by_priority{};
  // A page that several sequences share counts once. Cached: held by nobody, but of use to a prompt
  // with the same prefix; part of what is free.
  int64_t kv_pages_total = 0, kv_pages_used = 0, kv_pages_cached = 0;
  // Pages that had to leave the cache of a GPU and are kept in RAM; copies there and back so far.
  int64_t ram_pages_total = 0, ram_pages_used = 0, pages_saved = 0, pages_loaded = 0;
  int64_t steps = 0, prompt_tokens = 0, generated_tokens = 0;  // computed, not taken from the cache
  int64_t cached_prompt_tokens = 0;                            // taken from the cache
  int64_t evicted_pages = 0, preemptions = 0;
  // Experts chosen by the router, all layers, by Phase; and of these, the hot ones on the GPU.
  std::array<int64_t, kPhases> routed_pairs{}, hot_pairs{};
  StepTotals decode_steps;   // in which every row decoded
  StepTotals prefill_steps;  // in which every row was a prompt's
  StepTotals mixed_steps;    // all others
  AdaptationStats adaptation;
};

// Log-probability and the five most likely tokens of each given token (none for the first).
struct TokenScore {
  int32_t id;
  float logprob;
  std::vector<TopLogprob> top;
};

// A RESOURCE_EXHAUSTED of a full queue carries under this payload name a decimal number: the
// milliseconds after which trying again makes sense.
inline constexpr char kRetryAfterMsPayload[] = "tandem/retry-after-ms";

class Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options);
  virtual ~Engine() = default;

  // Errors: INVALID_ARGUMENT (empty prompt, id outside the vocabulary, prompt longer than the
  // context, bad sampling values: all named), RESOURCE_EXHAUSTED (queue full: see
  // kRetryAfterMsPayload), UNAVAILABLE (the engine is shutting down).
  virtual absl::StatusOr<std::shared_ptr<Generation>> Submit(GenerationRequest request) = 0;

  // Scores given tokens, e.g. for perplexity. Blocks; runs beside other requests.
  virtual absl::StatusOr<std::vector<TokenScore>> Score(const std::vector<int32_t>& ids) = 0;

  // Between two steps a cold expert takes the place of a hot one on the GPU; blocks until it has.
  // Errors: INVALID_ARGUMENT (which says what is wrong), UNAVAILABLE.
  virtual absl::Status ReplaceHotExpert(LayerId layer, ExpertId out, ExpertId in) = 0;

  // Between two steps `observer` begins to be told of every step's routing; see
  // placement/routing_observer.h. Blocks. Once StopObserving() has returned, the engine does not
  // touch it any more. Error: UNAVAILABLE (the engine is shutting down).
  virtual absl::Status Observe(std::shared_ptr<RoutingObserver> observer) = 0;
  virtual absl::Status StopObserving(const RoutingObserver* observer) = 0;
  // Runs `task` on the engine's thread between two steps, e.g. to look at an observer; blocks.
  // Error: UNAVAILABLE, and then it was not run.
  virtual absl::Status BetweenSteps(std::function<void()> task) = 0;

  // While it is paused, requests of Priority::kBatch wait, from the next step on: running ones go
  // back to the queue, and later on where they were. They can be submitted, cancelled and too late
  // as ever.
  virtual void PauseBatch(bool paused) = 0;

  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ModelConfig& config() const = 0;
  // Which model this is, to profiles and plans.
  virtual const ModelIdentity& identity() const = 0;
  virtual int64_t max_context() const = 0;  // tokens a single sequence may reach
  virtual EngineStats stats() const = 0;
  virtual LayerTimes layer_times() const = 0;
  virtual std::string description() const = 0;  // kernels, dtypes, threads: one line
};

// Submits and waits: all events merged into one.
absl::StatusOr<GenerationEvent> RunToEnd(Engine& engine, GenerationRequest request);

}  // namespace tandem
