// What the observers of requests are told of a gRPC call, at its end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "service/access/request_log.h"
#include "service/api/chat_run.h"

namespace tandem {

// The id that a client gave its call in the metadata x-request-id, else one of ours.
std::string CallIdOf(const grpc::CallbackServerContext& context);

class CallLog {
 public:
  // `method`: "/tandem.v1.Inference/Chat".
  CallLog(const ServiceContext& service, const grpc::CallbackServerContext& context,
          const char* method);

  void NoteTags(const RequestTags& tags);
  void NoteUpdate(const ChatUpdate& update) { NoteEnd(update, true, log_); }
  void NoteStatus(const absl::Status& status);
  // The call is over: tells the observers.
  void Tell();

  const Caller& caller() const { return caller_; }

 private:
  const ServiceContext& service_;
  const Caller caller_;
  const std::chrono::steady_clock::time_point arrived_ = std::chrono::steady_clock::now();
  RequestLog log_;
};

}  // namespace tandem
