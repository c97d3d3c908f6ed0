// A file of requests in OpenAI's batch format, worked off to a file of results: each exactly once,
// whatever happens in between. The engine of `tandem batch` and of a server's batches.
//
//   BatchJob::Open   reads and checks the input, takes up what an earlier run has done
//   Run              blocks until all is done, or it is stopped, or the world fails
//   Pause, Resume, Stop, Abandon, progress   meanwhile, from any thread
//
// Beside the output lies its journal (journal.h). A job that was stopped or killed at any moment
// goes on when it is opened anew with the same options; a finished one has nothing left to do.
// Results are lines of the output, failures among them (result_line.h). Memory: some 80 bytes a
// request, and the requests in flight.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/status.h"
#include "service/access/caller.h"
#include "service/api/chat_run.h"
#include "service/batch/shard.h"

namespace tandem {

struct BatchOptions {
  std::string input_path;
  std::string output_path;  // the journal: this and ".journal"
  bool ordered = false;     // results in the input's order, all at the end; else as finished
  Shard shard;              // which of the requests are this job's
  std::string endpoint;     // the one url that is accepted; "": each of BatchUrls()
  bool any_model = false;   // whatever model a request names, the one loaded answers; else 404
  // Sequences in flight, more only for a single request that wants more. Some more than the engine
  // computes at once, so that none of its places stays empty; never more than it queues.
  int32_t max_in_flight = 256;
  // What, beside the input, decides about the answers: model, precision, defaults. A job goes on
  // only with the same. Shown in the error, so: readable.
  std::string answered_by;
  Caller caller;
  RequestTags tags = {.priority = Priority::kBatch};
};

enum class BatchState {
  kOpen,      // not running yet
  kRunning,   //
  kPaused,    // requests in flight end, no others begin
  kStopping,  // by Stop() or Abandon()
  kStopped,   // what is done is kept; to be opened anew
  kDone,      // every request has its line
  kFailed,    // the output cannot be written, the input changed, the engine is gone: see `error`
};
const char* Name(BatchState state);  // "running"

// Requests count as done when their result will survive the loss of the process.
struct BatchProgress {
  BatchState state = BatchState::kOpen;
  absl::Status error;                      // with kFailed
  int64_t requests = 0;                    // of this job
  int64_t done = 0;                        // failed ones included, earlier runs included
  int64_t failed = 0;                      // their line has an error
  std::map<std::string, int64_t> by_code;  // failed ones, by the error's code
  int64_t resumed = 0;                     // of `done`: by earlier runs
  int32_t in_flight = 0;                   // requests
  // This run's, of requests that have ended.
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  double work_done = 0;  // 0 to 1: requests weighed by their size
  double running_s = 0;  // of this run, pauses left out
  double left_s = -1;    // estimate by this run's pace; negative: not known yet
};

// What is known of a job's requests before they are run; estimates from their text.
struct BatchSize {
  int64_t requests = 0;       // that this run has to do
  int64_t prompt_tokens = 0;  // about
  int64_t max_tokens = 0;     // the most that they may generate, of those that say so
  int64_t unbounded = 0;      // requests that do not say so
};

class BatchJob {
 public:
  // `service` must outlive the job. Takes seconds for a large input. Errors name the file:
  //   NOT_FOUND, PERMISSION_DENIED  input or output
  //   INVALID_ARGUMENT              no request in the input; input and output are one file
  //   ALREADY_EXISTS                the output exists, and no journal beside it
  //   ABORTED                       another process, or job of this one, works on the same output
  //   FAILED_PRECONDITION           input, model or options are not those the job was begun with
  //   DATA_LOSS                     the output is not what the journal says
  //   RESOURCE_EXHAUSTED            the disk is full
  static absl::StatusOr<std::unique_ptr<BatchJob>> Open(const ServiceContext& service,
                                                        const BatchOptions& options);
  // The journal's lock goes with the job. REQUIRES: Run() is not running.
  virtual ~BatchJob() = default;

  // On a thread that may block. Once. OK: kDone, or kStopped (see progress()). An error: kFailed;
  // whatever was done is kept, and once the cause is gone the job can be opened anew.
  virtual absl::Status Run() = 0;

  // Any thread, at any time; those that come too late do nothing. Return at once.
  virtual void SetInFlight(int32_t most_sequences) = 0;  // instead of BatchOptions'
  virtual void Pause() = 0;
  virtual void Resume() = 0;
  // No further requests begin; those in flight have `patience` to end, then they are cancelled and
  // stay undone. A second call may shorten the patience.
  virtual void Stop(std::chrono::milliseconds patience) = 0;
  // Stop(), but then every request left gets a line with this error, and the job is done: for a
  // batch that its owner cancels, or whose window has passed.
  virtual void Abandon(std::chrono::milliseconds patience, std::string code,
                       std::string message) = 0;

  virtual BatchProgress progress() const = 0;  // any thread
  virtual BatchSize size() const = 0;          // of what was left when it was opened
};

}  // namespace tandem
