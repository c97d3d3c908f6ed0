// One streamed answer on its way: request -> run -> client.
//
//   gRPC thread     Start: the intake queue
//   intake thread   Submit: checks the request and starts the run
//   writer thread   OnUpdate: adds to what is pending; encodes it as one event, starts its write
//
// One write is under way at a time. While it is, for a slow client, updates merge in `pending_`,
// whose size is bounded by Limits::max_unread_bytes. A cancelled call, or a lost client, cancels
// the run; the stream ends when its last update has come.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "service/api/chat_run.h"
#include "service/grpc/answers.h"
#include "service/grpc/call_context.h"
#include "service/grpc/call_log.h"
#include "service/limits.h"
#include "service/work_queue.h"

namespace tandem {

// A call as the run takes it, and how its updates become events of the wire.
template <class Event>
struct StreamJob {
  ChatCall call;
  RequestTags tags;
  std::function<Event(const ChatUpdate&)> encode;
};

template <class Event>
class AnswerStream final : public grpc::ServerWriteReactor<Event>,
                           public std::enable_shared_from_this<AnswerStream<Event>> {
 public:
  using Prepare = std::function<absl::StatusOr<StreamJob<Event>>()>;

  // The stream owns itself until gRPC is done with it. `prepare` runs on an intake thread.
  static AnswerStream* Start(const ServiceContext& service, grpc::CallbackServerContext* context,
                             const char* method, Prepare prepare) {
    auto stream = std::shared_ptr<AnswerStream>(new AnswerStream(service, context, method));
    stream->self_ = stream;
    service.intake.Post([stream, prepare = std::move(prepare)] { stream->Submit(prepare); });
    return stream.get();
  }

  void OnCancel() override {
    std::shared_ptr<ChatRun> run;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      run = run_;
    }
    if (run != nullptr) run->Cancel();
  }

  // A failed write is followed by OnCancel.
  void OnWriteDone(bool) override {
    service_.writer.Post([stream = this->shared_from_this()] { stream->WriteNext(); });
  }

  void OnDone() override {
    log_.Tell();
    std::shared_ptr<AnswerStream> self;
    std::lock_guard lock(mutex_);
    self = std::move(self_);  // destroyed after the lock: declared before it
  }

 private:
  AnswerStream(const ServiceContext& service, grpc::CallbackServerContext* context,
               const char* method)
      : service_(service), context_(context), log_(service, *context, method) {}

  void Submit(const Prepare& prepare) {
    if (Cancelled()) return End(absl::CancelledError("the client left"));
    absl::StatusOr<StreamJob<Event>> job = prepare();
    if (!job.ok()) return End(job.status());
    log_.NoteTags(job->tags);
    encode_ = std::move(job->encode);
    auto run = StartChat(
        service_, std::move(job->call), log_.caller(), job->tags,
        [stream = this->shared_from_this()](const ChatUpdate& u) { return stream->OnUpdate(u); });
    if (!run.ok()) return End(run.status());
    {
      std::lock_guard lock(mutex_);
      run_ = *run;
      if (!cancelled_) return;
    }
    (*run)->Cancel();
  }

  bool OnUpdate(const ChatUpdate& update) {
    log_.NoteUpdate(update);
    pending_bytes_ += Merge(update, pending_);
    if (pending_bytes_ > service_.limits.max_unread_bytes) overflowed_ = true;
    if (!writing_) {
      writing_ = true;
      WriteNext();
    }
    return !overflowed_;
  }

  // REQUIRES: no write is under way.
  void WriteNext() {
    const ChatUpdate update = std::exchange(pending_, {});
    pending_bytes_ = 0;
    if (update.pieces.empty() && update.tokens.empty() && !update.finish && !overflowed_) {
      writing_ = false;
      return;
    }
    event_ = encode_(update);
    if (overflowed_) {
      EndWith(event_,
              absl::ResourceExhaustedError("the answer was not read for so long that it no longer "
                                           "fits the server's buffer"));
    } else if (update.finish) {
      EndWith(event_, FinalStatus(update));
    } else if (SaysSomething(event_)) {
      this->StartWrite(&event_);
    } else {
      OnWriteDone(true);
    }
  }

  static absl::Status FinalStatus(const ChatUpdate& update) {
    switch (*update.finish) {
      case ChatFinish::kStop:
      case ChatFinish::kLength:
      case ChatFinish::kToolCalls:
        return absl::OkStatus();
      case ChatFinish::kDeadline:
        return absl::DeadlineExceededError("the deadline passed before the answer was complete");
      case ChatFinish::kError:
        return update.status;
      case ChatFinish::kCancelled:
        break;
    }
    return absl::CancelledError("the request was cancelled");
  }

  void End(const absl::Status& status) {
    log_.NoteStatus(status);
    this->Finish(ToGrpcStatus(status, context_));
  }

  // Nothing is written any more: `writing_` stays true.
  void EndWith(const Event& last, const absl::Status& status) {
    {
      std::lock_guard lock(mutex_);
      run_ = nullptr;
    }
    if (!SaysSomething(last)) return End(status);
    log_.NoteStatus(status);
    this->StartWriteAndFinish(&last, grpc::WriteOptions(), ToGrpcStatus(status, context_));
  }

  bool Cancelled() {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }

  const ServiceContext& service_;
  grpc::CallbackServerContext* const context_;
  CallLog log_;
  std::function<Event(const ChatUpdate&)> encode_;

  // The writer's.
  ChatUpdate pending_;
  int64_t pending_bytes_ = 0;
  bool writing_ = false;     // an event is being written, or nothing will be any more
  bool overflowed_ = false;  // the client does not read
  Event event_;              // being written

  std::mutex mutex_;
  std::shared_ptr<AnswerStream> self_;
  std::shared_ptr<ChatRun> run_;
  bool cancelled_ = false;  // the client left
};

}  // namespace tandem
