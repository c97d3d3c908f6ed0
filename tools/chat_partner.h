// The other side of `tandem chat`: an engine in this process, or a server.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "core/status.h"
#include "engine/engine.h"
#include "engine/text/output_parser.h"

namespace tandem {

struct ChatSettings {
  bool thinking = true;
  SamplingParams sampling;
  int32_t max_tokens = 0;  // 0: as many as the context allows
};

struct ChatReply {
  std::string reasoning, text;
  bool cancelled = false;
  FinishReason finish = FinishReason::kStop;
  Usage usage;
};

class ChatPartner {
 public:
  using Show = std::function<void(const AnswerPiece&)>;

  virtual ~ChatPartner() = default;

  // Blocks until the answer has ended; `show` gets its pieces on the calling thread.
  // `messages`: as in engine/text/chat_format.h.
  virtual absl::StatusOr<ChatReply> Ask(const nlohmann::ordered_json& messages,
                                        const ChatSettings& settings, const Show& show) = 0;
  // Ends the answer under way, which then returns as cancelled. Any thread.
  virtual void Cancel() = 0;
};

// `engine` must outlive it.
std::unique_ptr<ChatPartner> TalkToEngine(Engine& engine);
// Errors: UNAVAILABLE if no server answers there.
absl::StatusOr<std::unique_ptr<ChatPartner>> TalkToServer(const std::string& address);

}  // namespace tandem
