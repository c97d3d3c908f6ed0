// One streamed answer on its way: request -> engine -> client.
//
//   gRPC thread     Start: admission, then the intake queue
//   intake thread   Submit: checks, renders and tokenizes the request, hands it to the engine
//   engine thread   OnEvent: adds to what is pending, wakes the writer; no gRPC, no waiting
//   writer thread   Flush: encodes all that is pending as one event and starts its write
//
// One write is under way at a time. While it is, for a slow client, events merge in `pending_`,
// whose size is bounded by Limits::max_unread_bytes. A cancelled call, or a lost client, cancels
// the generation; the stream ends when the engine's last event has come.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/engine.h"
#include "service/admission.h"
#include "service/grpc/answers.h"
#include "service/limits.h"
#include "service/work_queue.h"

namespace tandem {

// About what a token, and one of its likely others, takes on the wire.
inline constexpr int64_t kTokenBytes = 16, kTopLogprobBytes = 24;

// What all streams of a server share; outlives them.
struct StreamHost {
  Engine& engine;
  const Limits& limits;
  Admission& admission;
  WorkQueue& intake;
  WorkQueue& writer;  // one thread
};

// The status a call ends with; sets the retry hint that clients with a retry policy follow.
grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context);

// The call's own deadline, if it has one.
std::optional<std::chrono::steady_clock::time_point> DeadlineOf(
    const grpc::CallbackServerContext& context);

template <class Event>
class AnswerStream final : public grpc::ServerWriteReactor<Event>,
                           public std::enable_shared_from_this<AnswerStream<Event>> {
 public:
  struct Job {
    GenerationRequest request;
    std::function<Event(const GenerationEvent&)> encode;
  };
  using Prepare = std::function<absl::StatusOr<Job>()>;

  // The stream owns itself until gRPC is done with it. `prepare` runs on an intake thread.
  static AnswerStream* Start(const StreamHost& host, grpc::CallbackServerContext* context,
                             Prepare prepare) {
    auto stream = std::shared_ptr<AnswerStream>(new AnswerStream(host, context));
    stream->self_ = stream;
    auto ticket = host.admission.Enter();
    if (!ticket.ok()) {
      stream->End(ticket.status());
      return stream.get();
    }
    stream->ticket_ = *std::move(ticket);
    host.intake.Post([stream, prepare = std::move(prepare)] { stream->Submit(prepare); });
    return stream.get();
  }

  void OnCancel() override {
    std::shared_ptr<Generation> generation;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      generation = generation_;
    }
    if (generation != nullptr) generation->Cancel();
  }

  // A failed write is followed by OnCancel.
  void OnWriteDone(bool) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    WakeWriter();
  }

  void OnDone() override {
    std::shared_ptr<AnswerStream> self;
    std::lock_guard lock(mutex_);
    self = std::move(self_);  // destroyed after the lock: declared before it
  }

 private:
  AnswerStream(const StreamHost& host, grpc::CallbackServerContext* context)
      : host_(host), context_(context) {}

  void Submit(const Prepare& prepare) {
    if (Cancelled()) return End(absl::CancelledError("the client left"));
    absl::StatusOr<Job> job = prepare();
    if (!job.ok()) return End(job.status());
    job->request.deadline = DeadlineOf(*context_);
    job->request.on_event = [stream = this->shared_from_this()](const GenerationEvent& event) {
      stream->OnEvent(event);
    };
    {
      std::lock_guard lock(mutex_);
      encode_ = std::move(job->encode);
    }
    auto generation = host_.engine.Submit(std::move(job->request));
    if (!generation.ok()) return End(generation.status());
    bool cancel = false;
    {
      std::lock_guard lock(mutex_);
      // After the last event nobody needs the handle any more (and it may hold us).
      if (!finished_) generation_ = *generation;
      cancel = cancelled_ || overflowed_;
    }
    if (cancel) (*generation)->Cancel();
  }

  void OnEvent(const GenerationEvent& event) {
    std::shared_ptr<Generation> done, too_slow;  // used and dropped outside the lock
    std::unique_lock lock(mutex_);
    if (!overflowed_) {
      pending_.text += event.text;
      pending_.tokens.insert(pending_.tokens.end(), event.tokens.begin(), event.tokens.end());
      pending_bytes_ += event.text.size();
      for (const GeneratedToken& token : event.tokens) {
        pending_bytes_ += kTokenBytes + kTopLogprobBytes * static_cast<int64_t>(token.top.size());
      }
    }
    if (event.finish) {
      finished_ = true;
      pending_.finish = event.finish;
      pending_.stop_string = event.stop_string;
      pending_.status = event.status;
      pending_.usage = event.usage;
      done = std::move(generation_);
    } else if (pending_bytes_ > host_.limits.max_unread_bytes && !overflowed_) {
      overflowed_ = true;
      too_slow = generation_;
    }
    WakeWriter();
    lock.unlock();
    if (too_slow != nullptr) too_slow->Cancel();
  }

  // REQUIRES: mutex_ is held.
  void WakeWriter() {
    if (wake_posted_ || writing_ || ended_) return;
    if (pending_.tokens.empty() && pending_.text.empty() && !pending_.finish) return;
    wake_posted_ = true;
    host_.writer.Post([stream = this->shared_from_this()] { stream->Flush(); });
  }

  void Flush() {
    GenerationEvent event;
    {
      std::lock_guard lock(mutex_);
      wake_posted_ = false;
      event = std::exchange(pending_, {});
      pending_bytes_ = 0;
      writing_ = true;
    }
    event_ = encode_(event);
    if (event.finish) {
      EndWith(event_, FinalStatus(event));
    } else if (SaysSomething(event_)) {
      this->StartWrite(&event_);
    } else {
      OnWriteDone(true);
    }
  }

  absl::Status FinalStatus(const GenerationEvent& event) {
    std::lock_guard lock(mutex_);
    switch (*event.finish) {
      case FinishReason::kStop:
      case FinishReason::kLength:
        return absl::OkStatus();
      case FinishReason::kDeadline:
        return absl::DeadlineExceededError("the deadline passed before the answer was complete");
      case FinishReason::kError:
        return event.status;
      case FinishReason::kCancelled:
        break;
    }
    if (overflowed_) {
      return absl::ResourceExhaustedError(
          "the answer was not read for so long that it no longer fits the server's buffer");
    }
    return absl::CancelledError("the request was cancelled");
  }

  void End(const absl::Status& status) {
    Leave();
    this->Finish(ToGrpcStatus(status, context_));
  }

  void EndWith(const Event& last, const absl::Status& status) {
    if (!SaysSomething(last)) return End(status);
    Leave();
    this->StartWriteAndFinish(&last, grpc::WriteOptions(), ToGrpcStatus(status, context_));
  }

  // Before the client knows that the call has ended, so that its next one finds the place free.
  void Leave() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    ticket_.Release();
  }

  bool Cancelled() {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }

  const StreamHost host_;
  grpc::CallbackServerContext* const context_;
  Event event_;  // being written

  std::mutex mutex_;
  std::shared_ptr<AnswerStream> self_;
  Admission::Ticket ticket_;
  std::shared_ptr<Generation> generation_;
  std::function<Event(const GenerationEvent&)> encode_;
  GenerationEvent pending_;
  int64_t pending_bytes_ = 0;
  bool cancelled_ = false;    // the client left
  bool overflowed_ = false;   // the client does not read
  bool finished_ = false;     // the engine's last event has come
  bool writing_ = false;      // an event is being encoded or written
  bool wake_posted_ = false;  // Flush() is in the writer's queue
  bool ended_ = false;        // Finish() was called: no further operation
};

}  // namespace tandem
