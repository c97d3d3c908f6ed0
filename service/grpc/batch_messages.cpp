#include "service/grpc/batch_messages.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

v1::BatchStatus StatusOf(BatchStatus status) {
  switch (status) {
    case BatchStatus::kValidating:
      return v1::BATCH_STATUS_VALIDATING;
    case BatchStatus::kFailed:
      return v1::BATCH_STATUS_FAILED;
    case BatchStatus::kInProgress:
      return v1::BATCH_STATUS_IN_PROGRESS;
    case BatchStatus::kFinalizing:
      return v1::BATCH_STATUS_FINALIZING;
    case BatchStatus::kCompleted:
      return v1::BATCH_STATUS_COMPLETED;
    case BatchStatus::kExpired:
      return v1::BATCH_STATUS_EXPIRED;
    case BatchStatus::kCancelling:
      return v1::BATCH_STATUS_CANCELLING;
    case BatchStatus::kCancelled:
      return v1::BATCH_STATUS_CANCELLED;
  }
  return v1::BATCH_STATUS_UNSPECIFIED;
}

}  // namespace

void Fill(const BatchView& batch, v1::BatchInfo& info) {
  const BatchRecord& record = batch.record;
  info.set_id(record.id);
  info.set_status(StatusOf(record.status));
  info.set_endpoint(record.endpoint);
  info.set_input_file_id(record.input_file);
  info.set_output_file_id(record.output_file);
  info.set_error_file_id(record.error_file);
  info.set_requests(record.total);
  info.set_done(record.done);
  info.set_failed(record.failed);
  info.set_in_flight(batch.in_flight);
  info.set_running(batch.running);
  info.set_paused(record.paused);
  if (batch.left_s >= 0) info.set_seconds_left(batch.left_s);
  info.set_problem(record.problem);
  for (const BatchFault& fault : record.faults) {
    v1::BatchFault& told = *info.add_faults();
    told.set_code(fault.code);
    told.set_message(fault.message);
    told.set_line(fault.line);
  }
  info.set_created_at_s(record.created_s);
  info.set_expires_at_s(record.expires_s);
  info.set_ended_at_s(record.ended_s());
  const auto metadata = nlohmann::json::parse(record.metadata, nullptr, false);
  if (metadata.is_object()) {
    for (const auto& [name, text] : metadata.items())
      (*info.mutable_metadata())[name] = text.get<std::string>();
  }
  info.set_owner(record.owner);
}

NewBatch ToNewBatch(const v1::NewBatch& message) {
  NewBatch batch = {.input_file = message.input_file_id(), .endpoint = message.endpoint()};
  if (message.has_window_s()) {
    batch.window_s = message.window_s();
    batch.window = absl::StrCat(message.window_s(), "s");
  }
  if (message.metadata().empty()) return batch;
  auto metadata = nlohmann::json::object();
  for (const auto& [name, text] : message.metadata()) metadata[name] = text;
  batch.metadata = metadata.dump();
  return batch;
}

}  // namespace tandem
