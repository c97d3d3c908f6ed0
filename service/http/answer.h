// One request's answer on its way from a handler's threads to the connection's strand.
//
// The handler holds it through an Exchange, the connection directly; it is logged when both have
// let go. Frames of a stream gather here while the socket is busy, up to max_unread_bytes.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "service/http/exchange.h"
#include "service/http/http_host.h"

namespace tandem {

class Answer {
 public:
  // `wake` tells the connection that there is something to take; it only posts. Called under a
  // lock, never after Finish().
  Answer(HttpHost& host, std::function<void()> wake);
  ~Answer();  // tells the observers

  // What a handler sees. When it is dropped without an answer, the client gets `no_answer`.
  static std::shared_ptr<Exchange> MakeExchange(std::shared_ptr<Answer> answer,
                                                HttpResponse no_answer);

  // The handler's side, any thread; see Exchange.
  void Send(HttpResponse response);
  void BeginEvents(std::function<std::string()> idle_comment);
  bool SendEvent(std::string frame);
  void EndEvents();
  void OnGone(std::function<void()> gone);
  void Abandon(HttpResponse no_answer);

  // The connection's side.
  struct Output {
    std::optional<HttpResponse> response;
    bool begins_events = false;
    std::string frames;
    bool ends_events = false;
    bool broken = false;  // nothing more can be said: close
  };
  Output Take();
  std::string IdleComment();
  // Nothing more will be taken. Unless `delivered`, the handler is told that the client is gone.
  void Finish(bool delivered);
  void NoteStatus(int status, std::string error);  // before Finish()

  RequestLog& log() { return log_; }  // the handler's, but for what NoteStatus() says

 private:
  enum class State { kWaiting, kResponse, kEvents, kEnded };
  void Wake();  // REQUIRES: mutex_ is held

  HttpHost& host_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  RequestLog log_;

  std::mutex mutex_;
  std::function<void()> wake_;  // null once finished
  State state_ = State::kWaiting;
  Output output_;  // not taken yet
  bool gone_ = false;
  std::function<void()> on_gone_;
  std::function<std::string()> idle_comment_;
  int status_ = 0;
  std::string error_;
  double total_s_ = 0;
};

}  // namespace tandem
