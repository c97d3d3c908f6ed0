#include "service/http/answer.h"

#include <utility>

#include "core/log.h"

namespace tandem {
namespace {

class HeldAnswer final : public Exchange {
 public:
  HeldAnswer(std::shared_ptr<Answer> answer, HttpResponse no_answer)
      : answer_(std::move(answer)), no_answer_(std::move(no_answer)) {}
  ~HeldAnswer() override { answer_->Abandon(std::move(no_answer_)); }

  void Send(HttpResponse response) override { answer_->Send(std::move(response)); }
  void BeginEvents(std::function<std::string()> idle_comment) override {
    answer_->BeginEvents(std::move(idle_comment));
  }
  bool SendEvent(std::string frame) override { return answer_->SendEvent(std::move(frame)); }
  void EndEvents() override { answer_->EndEvents(); }
  void OnGone(std::function<void()> gone) override { answer_->OnGone(std::move(gone)); }
  RequestLog& log() override { return answer_->log(); }

 private:
  const std::shared_ptr<Answer> answer_;
  HttpResponse no_answer_;
};

}  // namespace

Answer::Answer(HttpHost& host, std::function<void()> wake) : host_(host), wake_(std::move(wake)) {
  host_.answers.Add();
}

Answer::~Answer() {
  log_.status = status_;
  log_.total_s = total_s_;
  if (log_.error.empty()) log_.error = std::move(error_);
  for (const auto& observer : host_.observers) observer->Ended(log_);
  host_.answers.Remove();
}

std::shared_ptr<Exchange> Answer::MakeExchange(std::shared_ptr<Answer> answer,
                                               HttpResponse no_answer) {
  return std::make_shared<HeldAnswer>(std::move(answer), std::move(no_answer));
}

void Answer::Wake() {
  if (wake_) wake_();
}

void Answer::Send(HttpResponse response) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kWaiting) return LogError("http: a second answer to request {}", log_.id);
  state_ = State::kResponse;
  output_.response = std::move(response);
  Wake();
}

void Answer::BeginEvents(std::function<std::string()> idle_comment) {
  std::lock_guard lock(mutex_);
  if (state_ != State::kWaiting) return LogError("http: a second answer to request {}", log_.id);
  state_ = State::kEvents;
  output_.begins_events = true;
  if (!gone_) idle_comment_ = std::move(idle_comment);
  Wake();
}

bool Answer::SendEvent(std::string frame) {
  std::lock_guard lock(mutex_);
  if (gone_ || state_ != State::kEvents || output_.broken) return false;
  const size_t limit = static_cast<size_t>(host_.options.max_unread_bytes);
  if (!output_.frames.empty() && output_.frames.size() + frame.size() > limit) {
    output_.broken = true;
    error_ = "the answer was not read for so long that it no longer fits the server's buffer";
    Wake();
    return false;
  }
  output_.frames += frame;
  Wake();
  return true;
}

void Answer::EndEvents() {
  std::lock_guard lock(mutex_);
  if (state_ != State::kEvents) return;
  state_ = State::kEnded;
  output_.ends_events = true;
  Wake();
}

void Answer::OnGone(std::function<void()> gone) {
  {
    std::lock_guard lock(mutex_);
    if (!gone_) {
      if (wake_) on_gone_ = std::move(gone);
      return;
    }
  }
  gone();
}

void Answer::Abandon(HttpResponse no_answer) {
  std::lock_guard lock(mutex_);
  if (state_ == State::kWaiting) {
    state_ = State::kResponse;
    output_.response = std::move(no_answer);
    Wake();
  } else if (state_ == State::kEvents) {
    output_.broken = true;
    Wake();
  }
}

Answer::Output Answer::Take() {
  std::lock_guard lock(mutex_);
  Output taken = std::exchange(output_, {});
  output_.broken = taken.broken;
  return taken;
}

std::string Answer::IdleComment() {
  std::function<std::string()> ask;
  {
    std::lock_guard lock(mutex_);
    ask = idle_comment_;
  }
  return ask ? ask() : "";
}

void Answer::NoteStatus(int status, std::string error) {
  std::lock_guard lock(mutex_);
  status_ = status;
  if (error_.empty()) error_ = std::move(error);
}

void Answer::Finish(bool delivered) {
  std::function<void()> on_gone;  // called and dropped outside the lock
  std::function<std::string()> idle_comment;
  std::function<void()> wake;
  {
    std::lock_guard lock(mutex_);
    if (!wake_) return;
    wake.swap(wake_);
    on_gone.swap(on_gone_);
    idle_comment.swap(idle_comment_);
    total_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    gone_ = !delivered;
    if (gone_) {
      status_ = 499;
      if (error_.empty()) error_ = "the client left";
    }
  }
  if (!delivered && on_gone) on_gone();
}

}  // namespace tandem
