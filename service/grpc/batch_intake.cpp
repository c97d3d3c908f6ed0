#include "service/grpc/batch_intake.h"

#include "service/grpc/batch_messages.h"
#include "service/grpc/call_context.h"

namespace tandem {

BatchIntake::BatchIntake(const ServiceContext& service, BatchQueue& batches,
                         grpc::CallbackServerContext* context, v1::BatchInfo* response)
    : batches_(batches),
      context_(context),
      response_(response),
      log_(service, *context, "/tandem.v1.Batch/CreateBatch") {
  StartRead(&request_);
}

void BatchIntake::OnReadDone(bool ok) {
  batches_.disk().Post([this, ok] {
    if (!ok) return End(Create());
    const absl::Status taken = Take(request_);
    if (!taken.ok()) return End(taken);
    StartRead(&request_);
  });
}

void BatchIntake::OnDone() {
  log_.Tell();
  delete this;
}

absl::Status BatchIntake::Take(const v1::CreateBatchRequest& request) {
  if (request.part_case() == v1::CreateBatchRequest::PART_NOT_SET)
    return absl::InvalidArgumentError("part is missing; expected batch, lines or complete");
  if (request.has_batch() == batch_.has_value())
    return absl::InvalidArgumentError("batch is not in the first message, and only there");
  if (complete_) return absl::InvalidArgumentError("complete is not the last message");
  if (request.has_lines()) return TakeLines(request.lines());
  if (request.has_complete()) complete_ = request.complete();
  if (request.has_batch()) batch_ = ToNewBatch(request.batch());
  return absl::OkStatus();
}

absl::Status BatchIntake::TakeLines(const std::string& lines) {
  if (!batch_->input_file.empty())
    return absl::InvalidArgumentError("lines has something, and input_file_id, too; expected one");
  if (upload_ == nullptr) {
    TANDEM_ASSIGN_OR_RETURN(upload_, batches_.files().Begin({.owner = log_.caller().name}));
  }
  return upload_->Append(lines);
}

absl::Status BatchIntake::Create() {
  if (context_->IsCancelled()) return absl::CancelledError("the client left");
  if (!batch_) return absl::InvalidArgumentError("batch is missing; expected it first");
  if (upload_ != nullptr) {
    if (!complete_)
      return absl::InvalidArgumentError("complete is missing; expected it after all lines");
    TANDEM_ASSIGN_OR_RETURN(const FileRecord file, upload_->Finish());
    batch_->input_file = file.id;
  }
  const auto view = batches_.Create(log_.caller(), *batch_);
  if (view.ok()) {
    Fill(*view, *response_);
  } else if (upload_ != nullptr) {
    batches_.files().Delete(log_.caller().name, batch_->input_file).IgnoreError();
  }
  return view.status();
}

void BatchIntake::End(const absl::Status& status) {
  log_.NoteStatus(status);
  Finish(ToGrpcStatus(status, context_));
}

}  // namespace tandem
