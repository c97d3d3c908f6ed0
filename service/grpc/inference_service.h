// tandem.v1.Inference over an Engine: callback API, so no thread waits per call.
#pragma once

#include <string>

#include "engine/engine.h"
#include "service/admission.h"
#include "service/grpc/answer_stream.h"
#include "service/limits.h"
#include "service/work_queue.h"
#include "tandem/v1/inference.grpc.pb.h"

namespace tandem {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // `engine` must outlive the service.
  InferenceService(Engine& engine, std::string model_name, const Limits& limits);

  Admission& admission() { return admission_; }

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
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context,
                                     std::function<absl::Status()> work);
  absl::Status Tokenize(const v1::TokenizeRequest& request, v1::TokenizeResponse& response);
  absl::Status Detokenize(const v1::DetokenizeRequest& request, v1::DetokenizeResponse& response);

  Engine& engine_;
  const std::string model_name_;
  const Limits limits_;
  Admission admission_;
  // Last, so that their tasks end before what they use.
  WorkQueue intake_{2};
  WorkQueue writer_{1};
  StreamHost host_{engine_, limits_, admission_, intake_, writer_};
};

}  // namespace tandem
