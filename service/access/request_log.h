// What is known of one request in the end: a line of the access log, and what metrics count.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"

namespace tandem {

struct RequestLog {
  std::string id;         // of the request
  std::string transport;  // "http" or "grpc"
  std::string method;     // "POST /v1/chat/completions", "/tandem.v1.Inference/Chat"
  std::string caller;     // the key's name
  std::string task, agent;
  int status = 0;      // HTTP status, or gRPC status code
  std::string error;   // its message, if it failed
  double total_s = 0;  // from its arrival to the last byte
  // Of requests that generate:
  bool generated = false;
  Usage usage;               // of all its choices together; times of the longest
  double first_token_s = 0;  // from its arrival on
  std::string finish;        // "stop", "length", "tool_calls", "cancelled", "deadline", "error"
  std::string divergence;    // where its prompt left the cached one; see CacheDivergence
};

// Told of every request at its end; thread-safe, does not block. The server has a list of them.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  virtual void Ended(const RequestLog& log) = 0;
};

}  // namespace tandem
