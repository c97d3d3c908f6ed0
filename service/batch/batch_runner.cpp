#include "service/batch/batch_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/api/error_status.h"
#include "service/batch/batch_order.h"
#include "service/batch/job_line.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMostUnsavedBytes = 32 << 20;  // of results; then no further request begins
constexpr int32_t kAttempts = 3;
constexpr std::chrono::milliseconds kRetryPause = 200ms;  // after the engine has failed
constexpr std::chrono::milliseconds kBusyPause = 250ms;   // while others fill it

int64_t WorkLeft(const JobFile& input, const std::vector<uint32_t>& order) {
  int64_t work = 0;
  for (const uint32_t place : order) work += WorkOf(input.items()[place]);
  return work;
}

// Whether the engine, or the gate, had no room: it will have.
bool IsBusy(const absl::Status& error) {
  return absl::IsResourceExhausted(error) && error.GetPayload(kRetryAfterMsPayload).has_value();
}

}  // namespace

BatchRunner::BatchRunner(const ServiceContext& service, const BatchOptions& options, JobFile input,
                         std::unique_ptr<ResultStore> store, std::vector<uint32_t> order,
                         const BatchSize& size)
    : service_(service),
      options_(options),
      input_(std::move(input)),
      store_(std::move(store)),
      order_(std::move(order)),
      size_(size),
      state_(std::ssize(input_.items()), WorkLeft(input_, order_)),
      kept_(input_.items().size(), true) {
  for (const uint32_t place : order_) kept_[place] = false;
  state_.Resumed(std::ssize(store_->done_items()), store_->done_by_code());
}

absl::Status BatchRunner::Run() {
  {
    std::lock_guard lock(mutex_);
    if (!Stopping())
      state_.Become(paused_ ? BatchState::kPaused : BatchState::kRunning, Clock::now());
  }
  commit_ = std::make_unique<GroupCommit>(
      *store_,
      GroupCommit::Callbacks{.on_commit =
                                 [this](std::span<const Result> results) {
                                   std::lock_guard lock(mutex_);
                                   for (const Result& result : results) {
                                     const auto place =
                                         static_cast<uint32_t>(result.item / options_.shard.of);
                                     state_.Done(WorkOf(item(place)), result.line.code);
                                   }
                                 },
                             .on_error = [this](const absl::Status& error) { Fail(error); }});
  Feed();
  LandAll();
  WriteAbandoned();
  const absl::Status saved = commit_->Flush();
  commit_.reset();
  if (!saved.ok()) return saved;
  return Finish();
}

void BatchRunner::Feed() {
  while (const auto place = NextPlace()) {
    const absl::Status begun = Begin(*place);
    if (!begun.ok()) return Fail(begun);
  }
}

// The next request to begin; nullopt: there is none any more, or the batch stops.
std::optional<uint32_t> BatchRunner::NextPlace() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (Stopping()) return std::nullopt;
    const auto now = Clock::now();
    const auto due = std::ranges::min_element(retries_, {}, &Retry::not_before);
    const bool full = commit_->waiting_bytes() > kMostUnsavedBytes;
    const bool held = now < hold_until_;
    if (!paused_ && !full && !held) {
      if (due != retries_.end() && due->not_before <= now) {
        const uint32_t place = due->place;
        retries_.erase(due);
        return place;
      }
      if (next_ < order_.size()) return order_[next_++];
      if (retries_.empty() && flights_.empty()) return std::nullopt;
    }
    // What is full empties without telling; nothing else changes by itself.
    auto until = now + (full ? 10ms : 10000ms);
    if (held) until = std::min(until, hold_until_);
    if (due != retries_.end()) until = std::min(until, std::max(due->not_before, now + 1ms));
    changed_.wait_until(lock, until);
  }
}

// False: the batch stops.
bool BatchRunner::WaitForRoom(int32_t sequences) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return Stopping() ||
           (!paused_ && (flights_.empty() || sequences_ + sequences <= options_.max_in_flight));
  });
  return !Stopping();
}

// An error is the world's, not the request's.
absl::Status BatchRunner::Begin(uint32_t place) {
  const JobItem& it = item(place);
  if (it.too_long) {
    Keep(place, NoRequestLine("", it.line, "invalid_line",
                              absl::StrCat("the line is longer than ",
                                           service_.limits.max_message_bytes, " bytes")));
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string text, input_.Read(it));
  JobLine line = ParseJobLine(text, service_.limits, options_.endpoint);
  if (!line.error.ok() || it.duplicate_of != 0) {
    const std::string why = line.error.ok()
                                ? absl::StrCat("custom_id is that of line ", it.duplicate_of,
                                               "; expected another for each request")
                                : std::string(line.error.message());
    Keep(place, NoRequestLine(line.custom_id, it.line, "invalid_line", why));
    return absl::OkStatus();
  }
  if (const auto error = GivenUp(place)) return Judge(place, line.custom_id, *error);
  auto call = UnderstandBatchLine(service_, line, options_.any_model);
  line.body = nullptr;
  if (!call.ok()) {
    Refuse(place, line.custom_id, call.status(), ToOpenAiError(call.status()));
  } else if (call->answer) {
    Keep(place, AnsweredLine(line.custom_id, *call->answer));
  } else if (WaitForRoom(call->sequences())) {
    return BeginCall(place, line.custom_id, *std::move(call));
  }
  return absl::OkStatus();
}

absl::Status BatchRunner::BeginCall(uint32_t place, const std::string& custom_id, BatchCall call) {
  uint64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = next_flight_++;
    const int32_t sequences = call.sequences();
    flights_[number] = {place, custom_id, sequences, nullptr};
    sequences_ += sequences;
  }
  auto run = StartBatchCall(service_, std::move(call), options_.caller, options_.tags,
                            [this, number](BatchEnd end) { Ended(number, std::move(end)); });
  if (!run.ok()) {
    Ended(number, {.error = run.status(), .response = ToOpenAiError(run.status())});
    return absl::OkStatus();
  }
  std::lock_guard lock(mutex_);
  if (const auto flight = flights_.find(number); flight != flights_.end())
    flight->second.run = *std::move(run);
  return absl::OkStatus();
}

void BatchRunner::Ended(uint64_t number, BatchEnd end) {
  Flight flight;
  {
    std::lock_guard lock(mutex_);
    const auto found = flights_.find(number);
    flight = std::move(found->second);
    // It stays a flight until it is settled, so that nobody takes the batch for done.
  }
  Settle(flight, std::move(end));
  std::lock_guard lock(mutex_);
  sequences_ -= flight.sequences;
  flights_.erase(number);
  changed_.notify_all();
}

void BatchRunner::Settle(const Flight& flight, BatchEnd end) {
  {
    std::lock_guard lock(mutex_);
    state_.Used(end.prompt_tokens, end.cached_tokens, end.completion_tokens);
    if (!end.error.ok() && Stopping() &&
        (absl::IsCancelled(end.error) || absl::IsUnavailable(end.error) || IsBusy(end.error))) {
      return;  // stays undone
    }
  }
  if (end.error.ok()) return Keep(flight.place, AnsweredLine(flight.custom_id, end.response));
  if (!TryAgain(flight.place, end.error))
    Refuse(flight.place, flight.custom_id, end.error, end.response);
}

// Whether the request will be looked at once more.
bool BatchRunner::TryAgain(uint32_t place, const absl::Status& error) {
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (IsBusy(error)) {
    hold_until_ = now + kBusyPause;
    retries_.push_back({place, hold_until_});
    return true;
  }
  if (!absl::IsUnavailable(error)) return false;
  Attempts& attempts = attempts_[place];
  ++attempts.failed;
  attempts.error = error;
  retries_.push_back({place, now + kRetryPause});
  return true;
}

// The error of a request that has had all its chances.
std::optional<absl::Status> BatchRunner::GivenUp(uint32_t place) {
  std::lock_guard lock(mutex_);
  const auto found = attempts_.find(place);
  if (found == attempts_.end() || found->second.failed < kAttempts) return std::nullopt;
  return found->second.error;
}

// Whose fault it is: the request's if the engine still computes a single token. Else the batch
// ends, and the request is one of those that are left.
absl::Status BatchRunner::Judge(uint32_t place, const std::string& custom_id,
                                const absl::Status& error) {
  const auto probe = RunToEnd(
      service_.engine, {.prompt_ids = {0}, .max_tokens = 1, .priority = options_.tags.priority});
  if (!probe.ok() && IsBusy(probe.status())) {
    TryAgain(place, probe.status());
    return absl::OkStatus();
  }
  if (!probe.ok() || probe->finish == FinishReason::kError) return error;
  Refuse(place, custom_id, error, ToOpenAiError(error));
  return absl::OkStatus();
}

void BatchRunner::Keep(uint32_t place, ResultLine line) {
  {
    std::lock_guard lock(mutex_);
    kept_[place] = true;
  }
  commit_->Add({item(place).index, std::move(line)});
}

void BatchRunner::Refuse(uint32_t place, const std::string& custom_id, const absl::Status& error,
                         const HttpResponse& response) {
  if (HttpStatusOf(error) >= 500)
    LogError("{}, line {}: {}", options_.input_path, item(place).line,
             std::string(error.message()));
  Keep(place, RefusedLine(custom_id, item(place).line, error, response));
}

// Waits for those in flight; after the patience they are cancelled.
void BatchRunner::LandAll() {
  std::unique_lock lock(mutex_);
  const auto landed = [this] { return flights_.empty(); };
  while (!landed()) {
    if (land_by_) {
      const auto by = *land_by_;  // may be brought forward meanwhile
      changed_.wait_until(lock, by, [&] { return landed() || *land_by_ < by; });
      if (landed() || Clock::now() < *land_by_) continue;
      std::vector<std::shared_ptr<BatchRun>> runs;
      for (const auto& [number, flight] : flights_)
        if (flight.run != nullptr) runs.push_back(flight.run);
      lock.unlock();
      for (const auto& run : runs) run->Cancel();
      runs.clear();
      lock.lock();
      changed_.wait(lock, landed);
    } else {
      changed_.wait(lock);
    }
  }
}

void BatchRunner::WriteAbandoned() {
  std::unique_lock lock(mutex_);
  if (!abandoned_ || state_.state() == BatchState::kFailed) return;
  const auto [code, message] = *abandoned_;
  lock.unlock();
  for (const uint32_t place : order_) {
    if (kept_[place]) continue;
    const auto text = item(place).too_long ? std::string() : input_.Read(item(place));
    if (!text.ok()) return Fail(text.status());
    const JobLine line = ParseJobLine(*text, service_.limits, options_.endpoint);
    Keep(place, NoRequestLine(line.custom_id, item(place).line, code, message));
    // What is kept must not wait in memory.
    if (commit_->waiting_bytes() > kMostUnsavedBytes && !commit_->Flush().ok()) return;
  }
}

absl::Status BatchRunner::Finish() {
  std::unique_lock lock(mutex_);
  if (state_.state() == BatchState::kFailed) return state_.Progress(0, Clock::now()).error;
  if (std::ranges::find(kept_, false) != kept_.end()) {
    state_.Become(BatchState::kStopped, Clock::now());
    return absl::OkStatus();
  }
  lock.unlock();
  const absl::Status finished = store_->Finish();
  if (!finished.ok()) {
    Fail(finished);
    return finished;
  }
  lock.lock();
  state_.Become(BatchState::kDone, Clock::now());
  return absl::OkStatus();
}

}  // namespace tandem
