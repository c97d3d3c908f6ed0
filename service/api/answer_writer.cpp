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

// Between the runs, which tell updates from the writer's thread (perhaps before StartChat() has
// returned), and the client. Held by the runs' sinks.
class Relay {
 public:
  Relay(std::shared_ptr<Exchange> exchange, std::unique_ptr<AnswerWriter> writer, bool stream,
        int32_t n, int32_t choices)
      : exchange_(std::move(exchange)),
        writer_(std::move(writer)),
        stream_(stream),
        n_(n),
        left_(choices) {}

  void Refuse(const absl::Status& error) {
    std::lock_guard lock(mutex_);
    over_ = true;
    exchange_->Send(writer_->Error(error));
  }

  void Begin(int32_t prompt_tokens, std::function<std::string()> idle_comment) {
    std::lock_guard lock(mutex_);
    std::string events = writer_->Begin(prompt_tokens);
    if (stream_) {
      exchange_->BeginEvents(std::move(idle_comment));
      Send(std::move(events));
    }
    begun_ = true;
    for (const ChatUpdate& update : std::exchange(early_, {})) Deliver(update);
  }

  // False: nobody waits for more, or the whole answer has failed.
  bool Push(ChatUpdate update, int32_t first_choice) {
    std::lock_guard lock(mutex_);
    update.choice += first_choice;
    if (begun_) {
      Deliver(update);
    } else if (!over_) {
      early_.push_back(std::move(update));
    }
    return alive_ && !over_;
  }

 private:
  void Deliver(const ChatUpdate& update) {
    if (over_) return;
    if (update.finish) NoteEnd(update, update.choice % n_ == 0, exchange_->log());
    Send(writer_->Push(update));
    if (!update.finish) return;
    const absl::Status failure = FailureOf(update);
    if (--left_ > 0 && failure.ok()) return;
    // The runs of an answer that has come to its end have, too.
    over_ = !failure.ok();
    if (stream_) return exchange_->EndEvents();
    exchange_->Send(failure.ok() ? writer_->Whole() : writer_->Error(failure));
  }

  void Send(std::string events) {
    if (stream_ && alive_ && !events.empty()) alive_ = exchange_->SendEvent(std::move(events));
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<AnswerWriter> writer_;
  const bool stream_;
  const int32_t n_;  // choices of a run
  std::mutex mutex_;
  int32_t left_;  // choices that have not ended
  bool begun_ = false, alive_ = true;
  bool over_ = false;  // refused, or failed
  std::vector<ChatUpdate> early_;
};

using Runs = std::vector<std::weak_ptr<ChatRun>>;

// Of the first that waits.
std::string PlaceComment(const Runs& runs) {
  for (const auto& weak : runs) {
    const auto run = weak.lock();
    const QueuePlace place = run == nullptr ? QueuePlace() : run->place();
    if (place.position > 0)
      return absl::StrFormat("place %d in the queue, about %.0f s", place.position, place.wait_s);
  }
  return "working";
}

void CancelAll(const Runs& runs) {
  for (const auto& weak : runs)
    if (const auto run = weak.lock()) run->Cancel();
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
                std::shared_ptr<Exchange> exchange, std::vector<ChatCall> calls, bool stream,
                std::unique_ptr<AnswerWriter> writer) {
  const int32_t n = calls.front().n, choices = n * static_cast<int32_t>(calls.size());
  auto relay = std::make_shared<Relay>(exchange, std::move(writer), stream, n, choices);
  const auto tags = TagsOf(request);
  if (!tags.ok()) return relay->Refuse(tags.status());
  Runs runs;  // they hold the exchange by their sinks: it must not hold them
  int32_t prompt_tokens = 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto first = static_cast<int32_t>(i) * n;
    const auto run =
        StartChat(service, std::move(calls[i]), request.caller, *tags,
                  [relay, first](const ChatUpdate& update) { return relay->Push(update, first); });
    if (!run.ok()) {
      relay->Refuse(run.status());
      return CancelAll(runs);
    }
    prompt_tokens += (*run)->prompt_tokens();
    runs.push_back(*run);
  }
  relay->Begin(prompt_tokens, [runs] { return PlaceComment(runs); });
  exchange->OnGone([runs] { CancelAll(runs); });
}

void AnswerChat(const ServiceContext& service, const HttpRequest& request,
                std::shared_ptr<Exchange> exchange, ChatCall call, bool stream,
                std::unique_ptr<AnswerWriter> writer) {
  std::vector<ChatCall> calls;
  calls.push_back(std::move(call));
  AnswerChat(service, request, std::move(exchange), std::move(calls), stream, std::move(writer));
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
