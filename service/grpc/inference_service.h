// tandem.v1.Inference over an Engine: callback API, so no thread waits per call.
#pragma once

#include <functional>

#include "service/admission.h"
#include "service/api/chat_run.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // Both must outlive the service.
  InferenceService(const ServiceContext& context, Admission& admission)
      : context_(context), admission_(admission) {}

  grpc::ServerWriteReactor<v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::ChatEvent>* Chat(grpc::CallbackServerContext* context,
                                                const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;

 private:
  // Admits the call and runs `work` on an intake thread.
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context, const char* method,
                                     std::function<absl::Status()> work);
  absl::Status Tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse& response);
  absl::Status Detokenize(const v1::DetokenizeRequest& request, v1::DetokenizeResponse& response);

  const ServiceContext& context_;
  Admission& admission_;
};

}  // namespace tandem
