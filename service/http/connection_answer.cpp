// Answering; connection.cpp has the other half.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/log.h"
#include "service/api/error_status.h"
#include "service/http/connection.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

constexpr size_t kWriteBytes = 64 << 10;  // handed to the socket at once

std::string AllowedMethods(const Match& match) {
  return absl::StrJoin(match.same_path, ", ", [](std::string* out, const Route* route) {
    absl::StrAppend(out, route->method);
  });
}

}  // namespace

absl::Status Connection::CheckHead() {
  const RequestHead& head = reader_.head();
  TANDEM_ASSIGN_OR_RETURN(target_, ParseTarget(head.target));
  match_ = FindRoute(host_.routes, head.method, target_.path);
  TANDEM_RETURN_IF_ERROR(CheckHost(head, names_));
  TANDEM_RETURN_IF_ERROR(CheckOrigin(head, names_));
  if (crowded_) return HttpError(503, "the server has too many connections; try again later");
  if (match_.same_path.empty()) return HttpError(404, "there is nothing at this path");
  if (match_.route == nullptr) {
    return HttpError(
        405, absl::StrCat("this path has no such method; it has: ", AllowedMethods(match_)));
  }
  TANDEM_RETURN_IF_ERROR(CheckKey());
  if (host_.draining && head.method != "GET") {
    return HttpError(503, "the server is shutting down");
  }
  return CheckBody(head, match_.route->body_type, MaxBodyBytes());
}

absl::Status Connection::CheckKey() {
  const Access access = match_.route->access;
  absl::StatusOr<Caller> caller = host_.keys.Check(PresentedKey(reader_.head()));
  if (caller.ok()) {
    caller_ = *std::move(caller);
  } else if (access != Access::kOpen) {
    return HttpError(401, std::string(caller.status().message()));
  }
  if (access == Access::kAdmin && !caller_.admin) {
    return HttpError(403, "this needs an admin's key");
  }
  return absl::OkStatus();
}

void Connection::BeginAnswer() {
  const RequestHead& head = reader_.head();
  phase_ = Phase::kAnswering;
  deadline_->Cancel();
  const bool has_head = !head.method.empty();
  frame_ = {.request_id = RequestIdOf(has_head ? &head : nullptr),
            .http_1_0 = head.http_1_0,
            .without_body = head.method == "HEAD",
            .close = !has_head || !head.keep_alive || unread_ || crowded_ || host_.draining};
  // The connection stays in HttpHost::open, and so alive, until it has finished the answer.
  answer_ = std::make_shared<Answer>(
      host_, [this] { wire_->Post([self = shared_from_this()] { self->Pump(); }); });
  RequestLog& log = answer_->log();
  log.id = frame_.request_id;
  log.transport = "http";
  // Not as the client wrote it: lists of methods stay short, and logs without surprises.
  const std::string path = match_.route == nullptr ? "(no route)" : match_.route->path;
  log.method = has_head ? absl::StrCat(match_.route == nullptr ? "" : head.method + " ", path)
                        : "(no request)";
  log.caller = caller_.name;
}

HttpResponse Connection::WordError(const absl::Status& error) const {
  const Route* route = match_.route;
  if (route == nullptr && !match_.same_path.empty()) route = match_.same_path.front();
  HttpResponse response =
      route != nullptr && route->write_error ? route->write_error(error) : ToOpenAiError(error);
  response.status = HttpStatusOf(error);
  if (response.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (response.status == 405) response.headers.emplace_back("Allow", AllowedMethods(match_));
  if (response.status == 503) response.headers.emplace_back("Retry-After", "5");
  return response;
}

void Connection::Refuse(const absl::Status& error) {
  HttpResponse response = WordError(error);
  BeginAnswer();
  answer_->NoteStatus(response.status, std::string(error.message()));
  answer_->Send(std::move(response));
}

void Connection::Pump() {
  if (closed_ || writing_ || answer_ == nullptr) return;
  Answer::Output output = answer_->Take();
  if (output.broken) return Close();
  if (output.response) {
    answer_->NoteStatus(output.response->status, "");
    if (!frame_.without_body) pieces_ = output.response->pieces;
    pieces_left_bytes_ = pieces_ == nullptr ? 0 : pieces_->bytes();
    return Write(FormatResponse(*output.response, frame_), /*last=*/pieces_left_bytes_ == 0);
  }
  std::string bytes;
  if (output.begins_events) {
    in_events_ = true;
    if (frame_.http_1_0) frame_.close = true;
    answer_->NoteStatus(200, "");
    bytes = FormatEventsHead(frame_);
  }
  if (!output.frames.empty()) bytes += FormatEvents(output.frames, frame_);
  if (output.ends_events) bytes += FormatEvents("", frame_);
  if (!bytes.empty() || output.ends_events) Write(std::move(bytes), output.ends_events);
}

void Connection::Write(std::string bytes, bool last) {
  out_ = std::move(bytes);
  written_ = 0;
  last_write_ = last;
  writing_ = true;
  comment_timer_->Cancel();
  WriteNext();
}

void Connection::WriteNext() {
  if (written_ == out_.size()) return OnWritten(0);
  write_deadline_->After(host_.options.times.write, [self = shared_from_this()] { self->Close(); });
  wire_->WriteSome(std::string_view(out_).substr(written_, kWriteBytes),
                   [self = shared_from_this()](size_t bytes) {
                     if (self->closed_) return;
                     if (bytes == 0) return self->Close();
                     self->OnWritten(bytes);
                   });
}

void Connection::WritePiece() {
  absl::StatusOr<std::string> piece = pieces_->Next();
  if (!piece.ok() || piece->empty()) {
    LogError("http: request {}: {}", frame_.request_id, piece.status().ToString());
    return Close();
  }
  pieces_left_bytes_ -= std::ssize(*piece);
  Write(*std::move(piece), /*last=*/pieces_left_bytes_ <= 0);
}

void Connection::OnWritten(size_t bytes) {
  written_ += bytes;
  if (written_ < out_.size()) return WriteNext();
  write_deadline_->Cancel();
  out_ = {};
  written_ = 0;
  writing_ = false;
  if (last_write_) return EndAnswer();
  if (pieces_ != nullptr) return WritePiece();
  if (in_events_) {
    comment_timer_->After(host_.options.times.comment,
                          [self = shared_from_this()] { self->SendComment(); });
  }
  Pump();
}

void Connection::SendComment() {
  if (closed_ || writing_ || answer_ == nullptr) return;
  Write(FormatEvents(FormatComment(answer_->IdleComment()), frame_), /*last=*/false);
}

void Connection::EndAnswer() {
  last_write_ = in_events_ = false;
  pieces_ = nullptr;
  std::exchange(answer_, nullptr)->Finish(/*delivered=*/true);
  DropBodyBytes();
  match_ = {};
  caller_ = {};
  if (!frame_.close) return AwaitHead();
  // What the client still sends would make the kernel drop the answer it has not read yet.
  phase_ = Phase::kLinger;
  wire_->EndWriting();
  SetDeadline(host_.options.times.linger, [this] { Close(); });
  Advance();
}

}  // namespace tandem
