#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/chat_format.h"
#include "tools/chat_partner.h"

namespace tandem {
namespace {

// Events on their way from the engine's thread to the one that waits for the answer.
class EventQueue {
 public:
  void Push(const GenerationEvent& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    ready_.notify_one();
  }
  std::vector<GenerationEvent> Take() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return !events_.empty(); });
    return std::exchange(events_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<GenerationEvent> events_;
};

class EnginePartner final : public ChatPartner {
 public:
  explicit EnginePartner(Engine& engine) : engine_(engine) {}

  absl::StatusOr<ChatReply> Ask(const nlohmann::ordered_json& messages,
                                const ChatSettings& settings, const Show& show) override {
    TANDEM_ASSIGN_OR_RETURN(
        const RenderedChat chat,
        RenderChat(engine_.tokenizer(), messages, nullptr, {.thinking = settings.thinking}));
    auto events = std::make_shared<EventQueue>();
    GenerationRequest request;
    request.prompt_ids = chat.ids;
    request.sampling = settings.sampling;
    request.max_tokens = settings.max_tokens;
    request.on_event = [events](const GenerationEvent& event) { events->Push(event); };
    TANDEM_ASSIGN_OR_RETURN(auto generation, engine_.Submit(std::move(request)));
    SetCurrent(generation);
    auto reply = Follow(*events, settings.thinking, show);
    SetCurrent(nullptr);
    return reply;
  }

  void Cancel() override {
    std::lock_guard lock(mutex_);
    if (current_ != nullptr) current_->Cancel();
  }

 private:
  absl::StatusOr<ChatReply> Follow(EventQueue& events, bool thinking, const Show& show) {
    ChatReply reply;
    OutputParser parser(engine_.tokenizer(), thinking);
    for (;;) {
      for (const GenerationEvent& event : events.Take()) {
        const auto take = [&](const std::vector<AnswerPiece>& pieces) {
          for (const AnswerPiece& piece : pieces) {
            if (piece.kind == AnswerPiece::Kind::kReasoning) reply.reasoning += piece.text;
            if (piece.kind == AnswerPiece::Kind::kText) reply.text += piece.text;
            show(piece);
          }
        };
        take(parser.Push(event.tokens, event.text));
        if (!event.finish) continue;
        take(parser.Finish(/*cut=*/event.finish != FinishReason::kStop));
        if (event.finish == FinishReason::kError) return event.status;
        reply.cancelled = event.finish == FinishReason::kCancelled;
        reply.finish = *event.finish;
        reply.usage = event.usage;
        return reply;
      }
    }
  }

  void SetCurrent(std::shared_ptr<Generation> generation) {
    std::lock_guard lock(mutex_);
    current_ = std::move(generation);
  }

  Engine& engine_;
  std::mutex mutex_;
  std::shared_ptr<Generation> current_;
};

}  // namespace

std::unique_ptr<ChatPartner> TalkToEngine(Engine& engine) {
  return std::make_unique<EnginePartner>(engine);
}

}  // namespace tandem
