#include "service/grpc/inference_service.h"

#include <chrono>
#include <memory>
#include <utility>

#include "core/memory.h"
#include "service/grpc/requests.h"

namespace tandem {
namespace {

TokenDetail DetailOf(const v1::OutputOptions& output) {
  if (output.has_top_logprobs()) return TokenDetail::kLogprobs;
  return output.return_tokens() ? TokenDetail::kIds : TokenDetail::kNone;
}

void FillStats(const Engine& engine, int32_t open_requests, v1::ServerStats& out) {
  const EngineStats stats = engine.stats();
  out.set_running(stats.running);
  out.set_waiting(stats.waiting);
  out.set_kv_pages_total(stats.kv_pages_total);
  out.set_kv_pages_used(stats.kv_pages_used);
  out.set_steps(stats.steps);
  out.set_prompt_tokens(stats.prompt_tokens);
  out.set_generated_tokens(stats.generated_tokens);
  out.set_resident_bytes(ReadResidentMemory().now_bytes);
  out.set_open_requests(open_requests);
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context) {
  if (auto retry_after_ms = status.GetPayload(kRetryAfterMsPayload)) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", std::string(*retry_after_ms));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

std::optional<std::chrono::steady_clock::time_point> DeadlineOf(
    const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;  // none: the end of time
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(left);
}

InferenceService::InferenceService(Engine& engine, std::string model_name, const Limits& limits)
    : engine_(engine),
      model_name_(std::move(model_name)),
      limits_(limits),
      admission_(limits.max_open_requests) {}

grpc::ServerWriteReactor<v1::GenerateEvent>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  using Stream = AnswerStream<v1::GenerateEvent>;
  return Stream::Start(host_, context, [this, request]() -> absl::StatusOr<Stream::Job> {
    const Tokenizer& tokenizer = engine_.tokenizer();
    Stream::Job job;
    TANDEM_ASSIGN_OR_RETURN(job.request, ToGenerationRequest(*request, tokenizer, limits_));
    auto encoder = std::make_shared<GenerateEncoder>(tokenizer, DetailOf(request->output()));
    job.encode = [encoder](const GenerationEvent& event) { return encoder->Encode(event); };
    return job;
  });
}

grpc::ServerWriteReactor<v1::ChatEvent>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  using Stream = AnswerStream<v1::ChatEvent>;
  return Stream::Start(host_, context, [this, request]() -> absl::StatusOr<Stream::Job> {
    const Tokenizer& tokenizer = engine_.tokenizer();
    Stream::Job job;
    TANDEM_ASSIGN_OR_RETURN(job.request, ToGenerationRequest(*request, tokenizer, limits_));
    const v1::Conversation& conversation = request->conversation();
    const bool thinking = !conversation.has_thinking() || conversation.thinking();
    auto encoder = std::make_shared<ChatEncoder>(tokenizer, DetailOf(request->output()), thinking);
    job.encode = [encoder](const GenerationEvent& event) { return encoder->Encode(event); };
    return job;
  });
}

grpc::ServerUnaryReactor* InferenceService::RunUnary(grpc::CallbackServerContext* context,
                                                     std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  auto ticket = admission_.Enter();
  if (!ticket.ok()) {
    reactor->Finish(ToGrpcStatus(ticket.status(), context));
    return reactor;
  }
  auto held = std::make_shared<Admission::Ticket>(*std::move(ticket));
  intake_.Post([=, work = std::move(work)] {
    const absl::Status status = work();
    held->Release();  // before the client knows, so that its next call finds the place free
    reactor->Finish(ToGrpcStatus(status, context));
  });
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return RunUnary(context, [=, this] { return Tokenize(*request, *response); });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  return RunUnary(context, [=, this] { return Detokenize(*request, *response); });
}

absl::Status InferenceService::Tokenize(const v1::TokenizeRequest& request,
                                        v1::TokenizeResponse& response) {
  std::vector<int32_t> ids;
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText:
      ids = engine_.tokenizer().Encode(request.text(), request.parse_special_tokens());
      break;
    case v1::TokenizeRequest::kConversation: {
      TANDEM_ASSIGN_OR_RETURN(RenderedChat chat,
                              Render(request.conversation(), engine_.tokenizer(), limits_));
      ids = std::move(chat.ids);
      response.set_rendered(std::move(chat.text));
      break;
    }
    case v1::TokenizeRequest::INPUT_NOT_SET:
      return absl::InvalidArgumentError("input is missing; expected text or conversation");
  }
  response.mutable_ids()->Assign(ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::Status InferenceService::Detokenize(const v1::DetokenizeRequest& request,
                                          v1::DetokenizeResponse& response) {
  TANDEM_RETURN_IF_ERROR(CheckIds(request.ids(), "ids", engine_.tokenizer()));
  const std::span<const int32_t> ids(request.ids().data(), request.ids_size());
  Utf8Stream utf8;
  std::string text = utf8.Push(engine_.tokenizer().DecodeBytes(ids, request.skip_special_tokens()));
  response.set_text(text + utf8.Finish());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::GetModelInfoResponse* response) {
  const ModelConfig& config = engine_.config();
  response->set_name(model_name_);
  response->set_architecture(config.model_type);
  response->set_description(engine_.description());
  response->set_vocab_size(config.shape.vocab);
  response->set_max_context(engine_.max_context());
  response->set_layers(config.shape.layers);
  response->set_hidden(config.shape.hidden);
  response->set_experts(config.shape.experts);
  response->set_experts_per_token(config.shape.top_k);
  response->mutable_end_token_ids()->Assign(config.eos_ids.begin(), config.eos_ids.end());
  response->set_server_version(TANDEM_VERSION);
  FillStats(engine_, admission_.open(), *response->mutable_stats());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace tandem
