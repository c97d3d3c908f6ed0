#include "service/grpc/batch_service.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/api/batch_json.h"
#include "service/batch/batch_results.h"
#include "service/grpc/batch_intake.h"
#include "service/grpc/batch_messages.h"
#include "service/grpc/polled_stream.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kPieceBytes = 1 << 20;
constexpr auto kFollowPause = 500ms;
constexpr int32_t kDefaultListed = 20, kMaxListed = 100;
constexpr int32_t kMinIntervalMs = 100, kDefaultIntervalMs = 1000, kMaxIntervalMs = 3'600'000;

class RefusedIntake final : public grpc::ServerReadReactor<v1::CreateBatchRequest> {
 public:
  explicit RefusedIntake(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

absl::Status NeedsAdmin() { return absl::PermissionDeniedError("this needs an admin's key"); }

absl::Status CheckRange(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, "; expected ", min, " to ", max));
}

// What one client has been told of a batch.
class Watch {
 public:
  using Look = PolledStream<v1::BatchInfo>::Look;
  Watch(BatchQueue& batches, const v1::WatchBatchRequest& request)
      : batches_(batches),
        id_(request.id()),
        interval_ms_(request.has_interval_ms() ? request.interval_ms() : kDefaultIntervalMs) {}

  Look Next(const Caller& caller) {
    if (ended_) return {.end = absl::OkStatus()};
    if (const auto ok = CheckRange("interval_ms", interval_ms_, kMinIntervalMs, kMaxIntervalMs);
        !ok.ok()) {
      return {.end = ok};
    }
    const auto view = batches_.Get(caller, id_);
    if (!view.ok()) return {.end = view.status()};
    v1::BatchInfo info;
    Fill(*view, info);
    ended_ = HasEnded(view->record.status);
    const auto pause = ended_ ? 0ms : std::chrono::milliseconds(interval_ms_);
    std::string text = info.SerializeAsString();
    if (text == told_) return {.then_pause = pause};
    told_ = std::move(text);
    return {.message = std::move(info), .then_pause = pause};
  }

 private:
  BatchQueue& batches_;
  const std::string id_;
  const int32_t interval_ms_;
  std::string told_;
  bool ended_ = false;
};

// A client's place in a batch's results.
class Results {
 public:
  using Look = PolledStream<v1::ReadResultsResponse>::Look;
  Results(BatchQueue& batches, const v1::ReadResultsRequest& request)
      : batches_(batches), id_(request.id()), first_(request.first()), follow_(request.follow()) {}

  Look Next(const Caller& caller) {
    auto look = TryNext(caller);
    return look.ok() ? *std::move(look) : Look{.end = look.status()};
  }

 private:
  absl::StatusOr<Look> TryNext(const Caller& caller) {
    if (first_ < 0)
      return absl::InvalidArgumentError(absl::StrCat("first is ", first_, "; expected 0 or more"));
    TANDEM_ASSIGN_OR_RETURN(const BatchView view, batches_.Get(caller, id_));
    if (reader_ == nullptr) {
      TANDEM_ASSIGN_OR_RETURN(const std::string path, batches_.ResultsPath(caller, id_));
      reader_ = std::make_unique<ResultReader>(path);
      end_ = view.record.done;
    }
    if (follow_) end_ = view.record.done;
    TANDEM_RETURN_IF_ERROR(reader_->SkipTo(std::min(first_, end_)));
    Look look;
    const int64_t line = reader_->line();
    if (line >= first_) {
      TANDEM_ASSIGN_OR_RETURN(const auto lines, reader_->Read(end_, kPieceBytes));
      if (!lines.empty()) look.message = ToMessage(line, lines);
    }
    if (look.message) return look;
    if (!follow_ || HasEnded(view.record.status)) return Look{.end = absl::OkStatus()};
    look.then_pause = kFollowPause;
    return look;
  }

  static v1::ReadResultsResponse ToMessage(int64_t first, const std::vector<std::string>& lines) {
    v1::ReadResultsResponse message;
    message.set_first(first);
    for (const std::string& line : lines) message.add_lines(line.substr(0, line.size() - 1));
    return message;
  }

  BatchQueue& batches_;
  const std::string id_;
  const int64_t first_;
  const bool follow_;
  int64_t end_ = 0;
  std::unique_ptr<ResultReader> reader_;
};

// A stream of what `State`, made of the request, finds when it looks.
template <class Message, class State, class Request>
grpc::ServerWriteReactor<Message>* Follow(const ServiceContext& service, BatchQueue* batches,
                                          WorkQueue& queue, grpc::CallbackServerContext* context,
                                          const char* method, const Request& request) {
  using Stream = PolledStream<Message>;
  std::shared_ptr<State> state;
  if (batches != nullptr) state = std::make_shared<State>(*batches, request);
  return Stream::Start(service, queue, context, method, [state](const Caller& caller) {
    if (state == nullptr) return typename Stream::Look{.end = NoBatchesHere()};
    return state->Next(caller);
  });
}

}  // namespace

grpc::ServerUnaryReactor* BatchService::RunUnary(Context* context, const char* method, Work work) {
  Unary* reactor = context->DefaultReactor();
  auto log = std::make_shared<CallLog>(service_, *context, method);
  queue().Post([=, this, work = std::move(work)] {
    const absl::Status status = batches_ == nullptr ? NoBatchesHere() : work(log->caller());
    log->NoteStatus(status);
    log->Tell();
    reactor->Finish(ToGrpcStatus(status, context));
  });
  return reactor;
}

grpc::ServerUnaryReactor* BatchService::Answer(
    Context* context, const char* method, v1::BatchInfo* response,
    std::function<absl::StatusOr<BatchView>(const Caller&)> work) {
  return RunUnary(context, method, [=](const Caller& caller) {
    const auto view = work(caller);
    if (view.ok()) Fill(*view, *response);
    return view.status();
  });
}

grpc::ServerReadReactor<v1::CreateBatchRequest>* BatchService::CreateBatch(
    Context* context, v1::BatchInfo* response) {
  if (batches_ == nullptr) return new RefusedIntake(ToGrpcStatus(NoBatchesHere(), context));
  return new BatchIntake(service_, *batches_, context, response);
}

grpc::ServerUnaryReactor* BatchService::GetBatch(Context* context,
                                                 const v1::GetBatchRequest* request,
                                                 v1::BatchInfo* response) {
  return Answer(context, "/tandem.v1.Batch/GetBatch", response,
                [=, this](const Caller& caller) { return batches_->Get(caller, request->id()); });
}

grpc::ServerUnaryReactor* BatchService::ListBatches(Context* context,
                                                    const v1::ListBatchesRequest* request,
                                                    v1::ListBatchesResponse* response) {
  return RunUnary(
      context, "/tandem.v1.Batch/ListBatches", [=, this](const Caller& caller) -> absl::Status {
        const int32_t limit = request->has_limit() ? request->limit() : kDefaultListed;
        TANDEM_RETURN_IF_ERROR(CheckRange("limit", limit, 1, kMaxListed));
        if (request->all_owners() && !caller.admin) return NeedsAdmin();
        TANDEM_ASSIGN_OR_RETURN(const auto page,
                                batches_->List(caller, request->all_owners(),
                                               {.after = request->after(), .limit = limit}));
        for (const BatchView& view : page.records) Fill(view, *response->add_batches());
        response->set_has_more(page.has_more);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::BatchInfo>* BatchService::WatchBatch(
    Context* context, const v1::WatchBatchRequest* request) {
  return Follow<v1::BatchInfo, Watch>(service_, batches_, queue(), context,
                                      "/tandem.v1.Batch/WatchBatch", *request);
}

grpc::ServerUnaryReactor* BatchService::CancelBatch(Context* context,
                                                    const v1::CancelBatchRequest* request,
                                                    v1::BatchInfo* response) {
  return Answer(context, "/tandem.v1.Batch/CancelBatch", response, [=, this](const Caller& caller) {
    return batches_->Cancel(caller, request->id());
  });
}

grpc::ServerUnaryReactor* BatchService::PauseBatch(Context* context,
                                                   const v1::PauseBatchRequest* request,
                                                   v1::BatchInfo* response) {
  return Answer(context, "/tandem.v1.Batch/PauseBatch", response, [=, this](const Caller& caller) {
    return batches_->SetPaused(caller, request->id(), true);
  });
}

grpc::ServerUnaryReactor* BatchService::ResumeBatch(Context* context,
                                                    const v1::ResumeBatchRequest* request,
                                                    v1::BatchInfo* response) {
  return Answer(context, "/tandem.v1.Batch/ResumeBatch", response, [=, this](const Caller& caller) {
    return batches_->SetPaused(caller, request->id(), false);
  });
}

grpc::ServerWriteReactor<v1::ReadResultsResponse>* BatchService::ReadResults(
    Context* context, const v1::ReadResultsRequest* request) {
  return Follow<v1::ReadResultsResponse, Results>(service_, batches_, queue(), context,
                                                  "/tandem.v1.Batch/ReadResults", *request);
}

grpc::ServerUnaryReactor* BatchService::DeleteBatch(Context* context,
                                                    const v1::DeleteBatchRequest* request,
                                                    v1::DeleteBatchResponse*) {
  return RunUnary(context, "/tandem.v1.Batch/DeleteBatch", [=, this](const Caller& caller) {
    return batches_->Delete(caller, request->id());
  });
}

grpc::ServerUnaryReactor* BatchService::PauseAll(Context* context, const char* method,
                                                 bool paused) {
  return RunUnary(context, method, [=, this](const Caller& caller) {
    return caller.admin ? batches_->SetAllPaused(paused) : NeedsAdmin();
  });
}

grpc::ServerUnaryReactor* BatchService::PauseAllBatches(Context* context,
                                                        const v1::PauseAllBatchesRequest*,
                                                        v1::PauseAllBatchesResponse*) {
  return PauseAll(context, "/tandem.v1.Batch/PauseAllBatches", true);
}

grpc::ServerUnaryReactor* BatchService::ResumeAllBatches(Context* context,
                                                         const v1::ResumeAllBatchesRequest*,
                                                         v1::ResumeAllBatchesResponse*) {
  return PauseAll(context, "/tandem.v1.Batch/ResumeAllBatches", false);
}

}  // namespace tandem
