#include "service/grpc/inference_service.h"

#include <memory>
#include <utility>

#include "core/memory.h"
#include "service/grpc/answer_stream.h"
#include "service/grpc/conversation.h"
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

grpc::ServerWriteReactor<v1::GenerateEvent>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  using Job = StreamJob<v1::GenerateEvent>;
  return AnswerStream<v1::GenerateEvent>::Start(
      context_, context, "/tandem.v1.Inference/Generate",
      [this, context, request]() -> absl::StatusOr<Job> {
        const Tokenizer& tokenizer = context_.engine.tokenizer();
        Job job;
        TANDEM_ASSIGN_OR_RETURN(job.call, ToChatCall(*request, tokenizer, context_.limits));
        TANDEM_ASSIGN_OR_RETURN(job.tags, TagsOf(*context));
        TANDEM_RETURN_IF_ERROR(SetLabel(request->label(), context_.limits, job.tags));
        job.encode = [&tokenizer, detail = DetailOf(request->output())](const ChatUpdate& update) {
          return ToGenerateEvent(update, tokenizer, detail);
        };
        return job;
      });
}

grpc::ServerWriteReactor<v1::ChatEvent>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  using Job = StreamJob<v1::ChatEvent>;
  return AnswerStream<v1::ChatEvent>::Start(
      context_, context, "/tandem.v1.Inference/Chat",
      [this, context, request]() -> absl::StatusOr<Job> {
        const Tokenizer& tokenizer = context_.engine.tokenizer();
        Job job;
        TANDEM_ASSIGN_OR_RETURN(job.call, ToChatCall(*request, tokenizer, context_.limits));
        TANDEM_ASSIGN_OR_RETURN(job.tags, TagsOf(*context));
        TANDEM_RETURN_IF_ERROR(SetLabel(request->label(), context_.limits, job.tags));
        job.encode = [&tokenizer, detail = DetailOf(request->output())](const ChatUpdate& update) {
          return ToChatEvent(update, tokenizer, detail);
        };
        return job;
      });
}

grpc::ServerUnaryReactor* InferenceService::RunUnary(grpc::CallbackServerContext* context,
                                                     const char* method,
                                                     std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish =
      [=, log = std::make_shared<CallLog>(context_, *context, method)](const absl::Status& status) {
        log->NoteStatus(status);
        log->Tell();
        reactor->Finish(ToGrpcStatus(status, context));
      };
  auto ticket = admission_.Enter();
  if (!ticket.ok()) {
    finish(ticket.status());
    return reactor;
  }
  auto held = std::make_shared<Admission::Ticket>(*std::move(ticket));
  context_.intake.Post([=, work = std::move(work)] {
    const absl::Status status = work();
    held->Release();  // before the client knows, so that its next call finds the place free
    finish(status);
  });
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  return RunUnary(context, "/tandem.v1.Inference/Tokenize",
                  [=, this] { return Tokenize(*request, *response); });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeResponse* response) {
  return RunUnary(context, "/tandem.v1.Inference/Detokenize",
                  [=, this] { return Detokenize(*request, *response); });
}

absl::Status InferenceService::Tokenize(const v1::TokenizeRequest& request,
                                        v1::TokenizeResponse& response) {
  std::vector<int32_t> ids;
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText:
      ids = context_.engine.tokenizer().Encode(request.text(), request.parse_special_tokens());
      break;
    case v1::TokenizeRequest::kConversation: {
      TANDEM_ASSIGN_OR_RETURN(const ChatPrompt prompt,
                              ToPrompt(request.conversation(), context_.limits));
      TANDEM_ASSIGN_OR_RETURN(RenderedChat chat, RenderPrompt(context_, prompt));
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
  TANDEM_RETURN_IF_ERROR(CheckIds(request.ids(), "ids", context_.engine.tokenizer()));
  const std::span<const int32_t> ids(request.ids().data(), request.ids_size());
  Utf8Stream utf8;
  std::string text =
      utf8.Push(context_.engine.tokenizer().DecodeBytes(ids, request.skip_special_tokens()));
  response.set_text(text + utf8.Finish());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* InferenceService::GetModelInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetModelInfoRequest*,
                                                         v1::GetModelInfoResponse* response) {
  const ModelConfig& config = context_.engine.config();
  response->set_name(context_.model_name);
  response->set_architecture(config.model_type);
  response->set_description(context_.engine.description());
  response->set_vocab_size(config.shape.vocab);
  response->set_max_context(context_.engine.max_context());
  response->set_layers(config.shape.layers);
  response->set_hidden(config.shape.hidden);
  response->set_experts(config.shape.experts);
  response->set_experts_per_token(config.shape.top_k);
  response->mutable_end_token_ids()->Assign(config.eos_ids.begin(), config.eos_ids.end());
  response->set_server_version(TANDEM_VERSION);
  FillStats(context_.engine, admission_.open(), *response->mutable_stats());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace tandem
