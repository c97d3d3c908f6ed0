// tandem.v1.Batch over a server's batches. Callback API; the work, which waits for the disk, is
// done on the queue for it.
#pragma once

#include <functional>

#include "service/batch/batch_queue.h"
#include "tandem/v1/batch.grpc.pb.h"

namespace tandem {

class BatchService final : public v1::Batch::CallbackService {
 public:
  // Both must outlive the service. `batches` null: every call ends with UNIMPLEMENTED.
  BatchService(const ServiceContext& service, BatchQueue* batches)
      : service_(service), batches_(batches) {}

  using Context = grpc::CallbackServerContext;
  using Unary = grpc::ServerUnaryReactor;
  grpc::ServerReadReactor<v1::CreateBatchRequest>* CreateBatch(Context* context,
                                                               v1::BatchInfo* response) override;
  Unary* GetBatch(Context* context, const v1::GetBatchRequest* request,
                  v1::BatchInfo* response) override;
  Unary* ListBatches(Context* context, const v1::ListBatchesRequest* request,
                     v1::ListBatchesResponse* response) override;
  grpc::ServerWriteReactor<v1::BatchInfo>* WatchBatch(
      Context* context, const v1::WatchBatchRequest* request) override;
  Unary* CancelBatch(Context* context, const v1::CancelBatchRequest* request,
                     v1::BatchInfo* response) override;
  Unary* PauseBatch(Context* context, const v1::PauseBatchRequest* request,
                    v1::BatchInfo* response) override;
  Unary* ResumeBatch(Context* context, const v1::ResumeBatchRequest* request,
                     v1::BatchInfo* response) override;
  grpc::ServerWriteReactor<v1::ReadResultsResponse>* ReadResults(
      Context* context, const v1::ReadResultsRequest* request) override;
  Unary* DeleteBatch(Context* context, const v1::DeleteBatchRequest* request,
                     v1::DeleteBatchResponse* response) override;
  Unary* PauseAllBatches(Context* context, const v1::PauseAllBatchesRequest* request,
                         v1::PauseAllBatchesResponse* response) override;
  Unary* ResumeAllBatches(Context* context, const v1::ResumeAllBatchesRequest* request,
                          v1::ResumeAllBatchesResponse* response) override;

 private:
  using Work = std::function<absl::Status(const Caller&)>;
  Unary* RunUnary(Context* context, const char* method, Work work);
  Unary* Answer(Context* context, const char* method, v1::BatchInfo* response,
                std::function<absl::StatusOr<BatchView>(const Caller&)> work);
  Unary* PauseAll(Context* context, const char* method, bool paused);
  WorkQueue& queue() const { return batches_ == nullptr ? service_.intake : batches_->disk(); }

  const ServiceContext& service_;
  BatchQueue* const batches_;
};

}  // namespace tandem
