#include "service/api/answer_writer.h"

#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/access/caller.h"
#include "service/access/request_log.h"

namespace tandem {
namespace {

constexpr size_t kShownBytes = 64;  // of a client's text in an error

// Between the run, which tells updates from the writer's thread (perhaps before StartChat() has
// returned), and the client. Held by the run's sink.
class Relay {
 public:
  Relay(std::shared_ptr<Exchange> exchange, std::unique_ptr<AnswerWriter> writer, bool stream)
      : exchange_(std::move(exchange)), writer_(std::move(writer)), stream_(stream) {}

  void Refuse(const absl::Status& error) { exchange_->Send(writer_->Error(error)); }

  void Begin(int32_t prompt_tokens, std::function<std::string()> idle_comment) {
    std::lock_guard lock(mutex_);
    std::string events = writer_->Begin(prompt_tokens);
    if (stream_) {
      exchange_->BeginEvents(std::move(idle_comment));
      alive_ = exchange_->SendEvent(std::move(events));
    }
    begun_ = true;
    for (const ChatUpdate& update : std::exchange(early_, {})) Deliver(update);
  }

  bool Push(const ChatUpdate& update) {
    std::lock_guard lock(mutex_);
    if (begun_) {
      Deliver(update);
    } else {
      early_.push_back(update);
    }
    return alive_;
  }

 private:
  void Deliver(const ChatUpdate& update) {
    if (update.finish) NoteEnd(update, exchange_->log());
    std::string events = writer_->Push(update);
    if (stream_) {
      if (!events.empty()) alive_ = alive_ && exchange_->SendEvent(std::move(events));
      if (update.finish) exchange_->EndEvents();
    } else if (update.finish) {
      const absl::Status failure = FailureOf(update);
      exchange_->Send(failure.ok() ? writer_->Whole() : writer_->Error(failure));
    }
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<AnswerWriter> writer_;
  const bool stream_;
  std::mutex mutex_;
  bool begun_ = false, alive_ = true;
  std::vector<ChatUpdate> early_;
};

std::string PlaceComment(const ChatRun& run) {
  const QueuePlace place = run.place();
  if (place.position == 0) return "working";
  return absl::StrFormat("place %d in the queue, about %.0f s", place.position, place.wait_s);
}

}  // namespace

absl::StatusOr<RequestTags> TagsOf(const HttpRequest& request) {
  return ParseRequestTags([&](std::string_view name) -> std::optional<std::string> {
    const auto found = request.headers.find(std::string(name));
    if (found == request.headers.end()) return std::nullopt;
    return found->second;
  });
}

absl::Status CheckModel(const ServiceContext& service, const std::string& model) {
  if (model == service.model_name) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("model is \"",
                                          absl::Utf8SafeCHexEscape(model.substr(0, kShownBytes)),
                                          "\"; expected \"", service.model_name, "\""));
}

void AnswerChat(const ServiceContext& service, const HttpRequest& request,
                std::shared_ptr<Exchange> exchange, ChatCall call, bool stream,
                std::unique_ptr<AnswerWriter> writer) {
  auto relay = std::make_shared<Relay>(exchange, std::move(writer), stream);
  const auto tags = TagsOf(request);
  if (!tags.ok()) return relay->Refuse(tags.status());
  const auto run = StartChat(service, std::move(call), request.caller, *tags,
                             [relay](const ChatUpdate& update) { return relay->Push(update); });
  if (!run.ok()) return relay->Refuse(run.status());
  // The run holds the exchange by its sink: the exchange must not hold the run.
  const std::weak_ptr<ChatRun> weak = *run;
  relay->Begin((*run)->prompt_tokens(), [weak]() -> std::string {
    const auto held = weak.lock();
    return held == nullptr ? "working" : PlaceComment(*held);
  });
  exchange->OnGone([weak] {
    if (const auto held = weak.lock()) held->Cancel();
  });
}

absl::Status FailureOf(const ChatUpdate& last) {
  if (!last.finish) return absl::OkStatus();
  switch (*last.finish) {
    case ChatFinish::kStop:
    case ChatFinish::kLength:
    case ChatFinish::kToolCalls:
      return absl::OkStatus();
    case ChatFinish::kCancelled:
      return absl::CancelledError("the request was cancelled");
    case ChatFinish::kDeadline:
      return absl::DeadlineExceededError(
          "the request's deadline passed before its answer was done");
    case ChatFinish::kError:
      break;
  }
  return last.status.ok() ? absl::InternalError("the answer failed") : last.status;
}

std::string EventFrame(const std::string& name, const std::string& data) {
  return absl::StrCat("event: ", name, "\ndata: ", data, "\n\n");
}

}  // namespace tandem
