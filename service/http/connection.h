// One client: reads a request, checks it, has it answered, and goes on with the next.
//
//   kHead -> kBody -> kAnswering -> kHead ...      a refused one that has not been read to its end:
//                         \-> kLinger -> closed    its rest is thrown away for a while, so that the
//                                                  client gets to read why
//
// While an answer is being made the socket is read on: that is how a client that left is noticed. A
// client that ends its side of the connection counts as gone. Everything runs on the wire's strand.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "service/http/answer.h"
#include "service/http/head_check.h"
#include "service/http/http_host.h"
#include "service/http/request_reader.h"
#include "service/http/response_text.h"
#include "service/http/target.h"
#include "service/http/wire.h"

namespace tandem {

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  // `crowded`: there are too many; it is told so at its first request.
  Connection(HttpHost& host, std::shared_ptr<Wire> wire, bool crowded);
  ~Connection();

  void Start();
  void Close();
  void PostClose();  // any thread

 private:
  enum class Phase { kHead, kBody, kAnswering, kLinger };

  // Reading.
  void StartRead();
  void OnRead(size_t bytes);
  void Advance();
  void AwaitHead();
  void ReadHead();
  void OnHead();
  void ReadBody();
  bool HoldBodyBytes(int64_t bytes);  // false: all bodies together have too many
  void DropBodyBytes();
  int64_t MaxBodyBytes() const;  // of the route
  bool IsUpload() const;
  void Dispatch();
  void SetDeadline(std::chrono::milliseconds time, std::function<void()> then);
  void OnTooSlow();

  // Answering.
  absl::Status CheckHead();  // sets match_ and caller_
  absl::Status CheckKey();
  void BeginAnswer();
  void Refuse(const absl::Status& error);
  HttpResponse WordError(const absl::Status& error) const;
  void Pump();
  void Write(std::string bytes, bool last);
  void WriteNext();
  void WritePiece();
  void OnWritten(size_t bytes);
  void SendComment();
  void EndAnswer();

  HttpHost& host_;
  const std::shared_ptr<Wire> wire_;
  const bool crowded_;
  const std::shared_ptr<WireTimer> deadline_, write_deadline_, comment_timer_;
  const OwnNames names_;
  bool closed_ = false;
  Phase phase_ = Phase::kHead;

  bool reading_ = false;
  std::vector<char> read_buffer_;
  std::string in_;  // read, not yet taken
  RequestReader reader_;
  int64_t held_body_bytes_ = 0;  // of *held_of_
  std::atomic<int64_t>* held_of_ = nullptr;
  int64_t thrown_away_bytes_ = 0;

  Target target_;
  Match match_;
  Caller caller_;
  AnswerFrame frame_;
  std::shared_ptr<Answer> answer_;  // of the request being answered
  bool in_events_ = false;
  bool unread_ = false;  // part of the request is still to come

  bool writing_ = false;
  bool last_write_ = false;  // of the answer
  std::string out_;          // being written
  size_t written_ = 0;       // of it
  std::shared_ptr<BodyPieces> pieces_;
  int64_t pieces_left_bytes_ = 0;
};

}  // namespace tandem
