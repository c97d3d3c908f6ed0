// Reading; connection_answer.cpp has the other half.
#include "service/http/connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "service/http/http_error.h"

namespace tandem {
namespace {

constexpr size_t kReadBytes = 8 << 10;
// Of a refused request, at most; then the client has to live with a broken connection.
constexpr int64_t kMaxThrownAwayBytes = 64 << 20;

}  // namespace

Connection::Connection(HttpHost& host, std::shared_ptr<Wire> wire, bool crowded)
    : host_(host),
      wire_(std::move(wire)),
      crowded_(crowded),
      deadline_(wire_->NewTimer()),
      write_deadline_(wire_->NewTimer()),
      comment_timer_(wire_->NewTimer()),
      names_{wire_->local_address(), host.port, wire_->secure(), host.options.allowed_hosts},
      read_buffer_(kReadBytes),
      reader_(host.options.max_head_bytes, host.options.max_headers) {
  host_.connections.Add();
}

Connection::~Connection() { host_.connections.Remove(); }

void Connection::Start() {
  SetDeadline(host_.options.times.handshake, [this] { Close(); });
  wire_->Handshake([self = shared_from_this()](bool ok) {
    if (self->closed_) return;
    if (!ok) return self->Close();
    self->AwaitHead();
  });
}

void Connection::PostClose() {
  wire_->Post([self = shared_from_this()] { self->Close(); });
}

void Connection::Close() {
  if (std::exchange(closed_, true)) return;
  for (const auto& timer : {deadline_, write_deadline_, comment_timer_}) timer->Cancel();
  if (answer_ != nullptr) std::exchange(answer_, nullptr)->Finish(/*delivered=*/false);
  DropBodyBytes();
  wire_->Close();
  std::lock_guard lock(host_.mutex);
  host_.open.erase(shared_from_this());
}

void Connection::SetDeadline(std::chrono::milliseconds time, std::function<void()> then) {
  deadline_->After(time, [self = shared_from_this(), then = std::move(then)] {
    if (!self->closed_) then();
  });
}

void Connection::StartRead() {
  const size_t enough = static_cast<size_t>(host_.options.max_head_bytes) + kReadBytes;
  if (reading_ || closed_ || in_.size() >= enough) return;
  reading_ = true;
  wire_->ReadSome(read_buffer_.data(), read_buffer_.size(),
                  [self = shared_from_this()](size_t bytes) { self->OnRead(bytes); });
}

void Connection::OnRead(size_t bytes) {
  reading_ = false;
  if (closed_) return;
  if (bytes == 0) return Close();
  const bool first = phase_ == Phase::kHead && in_.empty();
  in_.append(read_buffer_.data(), bytes);
  if (first) SetDeadline(host_.options.times.head, [this] { OnTooSlow(); });
  Advance();
}

void Connection::Advance() {
  switch (phase_) {
    case Phase::kHead:
      return ReadHead();
    case Phase::kBody:
      return ReadBody();
    case Phase::kAnswering:
      return StartRead();
    case Phase::kLinger:
      thrown_away_bytes_ += static_cast<int64_t>(in_.size());
      in_.clear();
      return thrown_away_bytes_ > kMaxThrownAwayBytes ? Close() : StartRead();
  }
}

void Connection::AwaitHead() {
  phase_ = Phase::kHead;
  reader_.Reset();
  if (in_.empty()) {
    SetDeadline(host_.options.times.idle, [this] { Close(); });
    return StartRead();
  }
  SetDeadline(host_.options.times.head, [this] { OnTooSlow(); });
  ReadHead();
}

void Connection::OnTooSlow() {
  unread_ = true;
  Refuse(HttpError(408, "the request did not come completely within the time it has"));
}

void Connection::ReadHead() {
  const absl::StatusOr<bool> done = reader_.ReadHead(in_);
  if (!done.ok()) {
    unread_ = true;
    return Refuse(done.status());
  }
  return *done ? OnHead() : StartRead();
}

void Connection::OnHead() {
  const RequestHead& head = reader_.head();
  unread_ = head.has_body;
  if (const absl::Status checked = CheckHead(); !checked.ok()) return Refuse(checked);
  if (!head.has_body) return Dispatch();
  if (head.body_bytes > 0 && !HoldBodyBytes(head.body_bytes)) {
    return Refuse(HttpError(503, "the server is receiving too much at once; try again later"));
  }
  phase_ = Phase::kBody;
  const int64_t times = 1 + std::max<int64_t>(head.body_bytes, 0) / host_.options.max_body_bytes;
  SetDeadline(host_.options.times.body * times, [this] { OnTooSlow(); });
  if (head.Find("expect") != nullptr && !head.http_1_0 && in_.empty()) {
    Write("HTTP/1.1 100 Continue\r\n\r\n", /*last=*/false);
  }
  ReadBody();
}

bool Connection::HoldBodyBytes(int64_t bytes) {
  const int64_t more = bytes - held_body_bytes_;
  if (more <= 0) return true;
  held_body_bytes_ = bytes;
  held_of_ = IsUpload() ? &host_.upload_bytes : &host_.body_bytes;
  return held_of_->fetch_add(more) + more <=
         (IsUpload() ? host_.options.max_all_uploads_bytes : host_.options.max_all_bodies_bytes);
}

void Connection::DropBodyBytes() {
  if (held_of_ != nullptr) *std::exchange(held_of_, nullptr) -= std::exchange(held_body_bytes_, 0);
}

bool Connection::IsUpload() const { return match_.route->max_body_bytes > 0; }

int64_t Connection::MaxBodyBytes() const {
  return IsUpload() ? match_.route->max_body_bytes : host_.options.max_body_bytes;
}

void Connection::ReadBody() {
  const absl::StatusOr<bool> done = reader_.ReadBody(in_, MaxBodyBytes());
  if (!done.ok()) return Refuse(done.status());
  if (!HoldBodyBytes(static_cast<int64_t>(reader_.body().size()))) {
    return Refuse(HttpError(503, "the server is receiving too much at once; try again later"));
  }
  if (!*done) return StartRead();
  unread_ = false;
  Dispatch();
}

void Connection::Dispatch() {
  const RequestHead& head = reader_.head();
  auto request = std::make_shared<HttpRequest>();
  request->method = head.method;
  request->path = target_.path;
  request->path_tail = match_.tail;
  request->query = std::move(target_.query);
  request->headers = head.headers;
  request->body = std::move(reader_.body());
  request->id = frame_.request_id;
  request->caller = caller_;
  BeginAnswer();
  auto exchange =
      Answer::MakeExchange(answer_, WordError(absl::InternalError("the handler gave no answer")));
  WorkQueue& queue = match_.route->queue != nullptr ? *match_.route->queue : host_.intake;
  queue.Post([request, exchange = std::move(exchange), route = match_.route]() mutable {
    try {
      route->handler(*request, std::move(exchange));
    } catch (const std::exception& error) {
      LogError("http: request {} ({}): {}", request->id, route->path, error.what());
    }
  });
  StartRead();  // to notice if the client leaves
}

}  // namespace tandem
