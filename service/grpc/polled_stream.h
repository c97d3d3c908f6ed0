// A stream of messages that come from looking at something again and again: asked for the next one
// when the last has been written and a pause has passed. Owns itself until gRPC is done with it.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "core/status.h"
#include "service/grpc/call_context.h"
#include "service/grpc/call_log.h"
#include "service/work_queue.h"

namespace tandem {

template <class Message>
class PolledStream final : public grpc::ServerWriteReactor<Message> {
 public:
  struct Look {
    std::optional<Message> message;           // to be written
    std::optional<absl::Status> end;          // the stream's; then there is no message
    std::chrono::milliseconds then_pause{0};  // before the next look
  };

  // `look` runs on the queue, which outlives the stream.
  static PolledStream* Start(const ServiceContext& service, WorkQueue& queue,
                             grpc::CallbackServerContext* context, const char* method,
                             std::function<Look(const Caller&)> look) {
    auto* stream = new PolledStream(service, queue, context, method, std::move(look));
    queue.Post([stream] { stream->Next(); });
    return stream;
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client left"));
    queue_.Post([this] { Pause(); });
  }
  void OnDone() override {
    log_.Tell();
    delete this;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kTick{200};  // after which a lost client is noticed

  PolledStream(const ServiceContext& service, WorkQueue& queue,
               grpc::CallbackServerContext* context, const char* method,
               std::function<Look(const Caller&)> look)
      : queue_(queue), context_(context), look_(std::move(look)), log_(service, *context, method) {}

  void Next() {
    if (context_->IsCancelled()) return End(absl::CancelledError("the client left"));
    Look look = look_(log_.caller());
    if (look.end) return End(*look.end);
    go_on_ = Clock::now() + look.then_pause;
    if (!look.message) return Pause();
    message_ = *std::move(look.message);
    this->StartWrite(&message_);
  }

  void Pause() {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(go_on_ - Clock::now());
    if (left.count() <= 0 || context_->IsCancelled()) return Next();
    // A new one each time: the last one's callback may not have returned yet.
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(std::chrono::system_clock::now() + std::min(left, kTick),
                [this](bool) { queue_.Post([this] { Pause(); }); });
  }

  void End(const absl::Status& status) {
    log_.NoteStatus(status);
    this->Finish(ToGrpcStatus(status, context_));
  }

  WorkQueue& queue_;
  grpc::CallbackServerContext* const context_;
  const std::function<Look(const Caller&)> look_;
  CallLog log_;
  std::unique_ptr<grpc::Alarm> alarm_;
  Clock::time_point go_on_{};
  Message message_;  // being written
};

}  // namespace tandem
