#include <grpcpp/grpcpp.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tandem/v1/inference.grpc.pb.h"
#include "tools/chat_partner.h"

namespace tandem {
namespace {

// A busy server is asked again when it says so (grpc-retry-pushback-ms).
constexpr char kServiceConfig[] = R"({"methodConfig": [{"name": [{}], "retryPolicy": {
  "maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "30s", "backoffMultiplier": 2,
  "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})";

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

v1::Role ToRole(const std::string& role) {
  if (role == "system") return v1::ROLE_SYSTEM;
  return role == "assistant" ? v1::ROLE_ASSISTANT : v1::ROLE_USER;
}

v1::ChatRequest ToRequest(const nlohmann::ordered_json& messages, const ChatSettings& settings) {
  v1::ChatRequest request;
  request.mutable_conversation()->set_thinking(settings.thinking);
  for (const auto& message : messages) {
    v1::ChatMessage& out = *request.mutable_conversation()->add_messages();
    out.set_role(ToRole(message.at("role")));
    out.add_content()->set_text(message.at("content"));
    if (message.contains("reasoning_content")) {
      out.set_reasoning_content(message.at("reasoning_content"));
    }
  }
  v1::Sampling& sampling = *request.mutable_sampling();
  sampling.set_temperature(settings.sampling.temperature);
  sampling.set_top_p(settings.sampling.top_p);
  sampling.set_top_k(settings.sampling.top_k);
  sampling.set_min_p(settings.sampling.min_p);
  sampling.set_repetition_penalty(settings.sampling.repetition_penalty);
  if (settings.sampling.seed) sampling.set_seed(*settings.sampling.seed);
  if (settings.max_tokens > 0) request.mutable_output()->set_max_tokens(settings.max_tokens);
  return request;
}

void ShowPieces(const v1::ChatEvent& event, const ChatPartner::Show& show) {
  using Kind = AnswerPiece::Kind;
  if (!event.reasoning().empty()) show({Kind::kReasoning, event.reasoning(), 0, "", ""});
  if (!event.text().empty()) show({Kind::kText, event.text(), 0, "", ""});
  for (const v1::ToolCallDelta& call : event.tool_calls()) {
    if (call.has_id()) show({Kind::kToolCall, "", call.index(), call.id(), call.name()});
    if (!call.arguments().empty()) {
      show({Kind::kToolArguments, call.arguments(), call.index(), "", ""});
    }
  }
}

void SetFinish(const v1::Finish& finish, ChatReply& reply) {
  reply.finish =
      finish.reason() == v1::FINISH_REASON_LENGTH ? FinishReason::kLength : FinishReason::kStop;
  reply.usage.prompt_tokens = finish.usage().prompt_tokens();
  reply.usage.completion_tokens = finish.usage().completion_tokens();
  reply.usage.queue_s = finish.usage().queue_seconds();
  reply.usage.prefill_s = finish.usage().prefill_seconds();
  reply.usage.decode_s = finish.usage().decode_seconds();
}

class ServerPartner final : public ChatPartner {
 public:
  explicit ServerPartner(std::shared_ptr<grpc::Channel> channel)
      : stub_(v1::Inference::NewStub(channel)) {}

  absl::StatusOr<ChatReply> Ask(const nlohmann::ordered_json& messages,
                                const ChatSettings& settings, const Show& show) override {
    grpc::ClientContext context;
    SetCurrent(&context);
    auto reader = stub_->Chat(&context, ToRequest(messages, settings));
    ChatReply reply;
    reply.cancelled = true;  // until the last event says otherwise
    for (v1::ChatEvent event; reader->Read(&event);) {
      ShowPieces(event, show);
      reply.reasoning += event.reasoning();
      reply.text += event.text();
      if (event.has_finish()) {
        SetFinish(event.finish(), reply);
        reply.cancelled = false;
      }
    }
    SetCurrent(nullptr);
    const grpc::Status status = reader->Finish();
    if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED) return ToStatus(status);
    return reply;
  }

  void Cancel() override {
    std::lock_guard lock(mutex_);
    if (current_ != nullptr) current_->TryCancel();
  }

 private:
  void SetCurrent(grpc::ClientContext* context) {
    std::lock_guard lock(mutex_);
    current_ = context;
  }

  const std::unique_ptr<v1::Inference::Stub> stub_;
  std::mutex mutex_;
  grpc::ClientContext* current_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatPartner>> TalkToServer(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(5))) {
    return absl::UnavailableError(
        absl::StrCat("no server answers at ", address, "; start one with `tandem serve MODEL`"));
  }
  return std::make_unique<ServerPartner>(std::move(channel));
}

}  // namespace tandem
