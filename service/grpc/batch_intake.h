// A batch on its way in: Batch.CreateBatch's stream, written to the disk as it comes. Owns itself
// until gRPC is done with it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "service/batch/batch_queue.h"
#include "service/grpc/call_log.h"
#include "tandem/v1/batch.grpc.pb.h"

namespace tandem {

class BatchIntake final : public grpc::ServerReadReactor<v1::CreateBatchRequest> {
 public:
  // `batches` and what `service` refers to outlive it.
  BatchIntake(const ServiceContext& service, BatchQueue& batches,
              grpc::CallbackServerContext* context, v1::BatchInfo* response);

  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  absl::Status Take(const v1::CreateBatchRequest& request);
  absl::Status TakeLines(const std::string& lines);
  absl::Status Create();
  void End(const absl::Status& status);

  BatchQueue& batches_;
  grpc::CallbackServerContext* const context_;
  v1::BatchInfo* const response_;
  CallLog log_;
  v1::CreateBatchRequest request_;  // being read
  std::optional<NewBatch> batch_;   // of the first message
  std::unique_ptr<Upload> upload_;
  bool complete_ = false;
};

}  // namespace tandem
