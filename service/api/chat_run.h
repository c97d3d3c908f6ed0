// Runs a ChatCall: renders and checks it, compiles its constraint, submits its choices to the
// engine, takes the answers apart.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/constrain/answer_rules.h"
#include "engine/engine.h"
#include "service/access/gate.h"
#include "service/access/request_log.h"
#include "service/api/chat_call.h"
#include "service/limits.h"
#include "service/work_queue.h"

namespace tandem {

// How prompts are treated before they are rendered; docs/api.md has the rules.
struct PromptPolicy {
  bool normalise_volatile = true;  // fields that agents change with every request
  bool log_prompts = false;        // may prompts' text be in the log
  bool thinking_default = true;
};

// What all front ends share; outlives them.
struct ServiceContext {
  Engine& engine;
  Gate& gate;
  ConstraintCompiler& constraints;
  const Limits& limits;
  WorkQueue& intake;  // parses, renders, compiles
  WorkQueue& writer;  // encodes answers; one thread, so that updates stay in order
  std::string model_name;
  PromptPolicy policy;
  const ApiKeys* keys = nullptr;
  const std::vector<std::shared_ptr<RequestObserver>>* observers = nullptr;
};

class ChatRun {
 public:
  virtual ~ChatRun() = default;
  // The client left, or does not read: ends all choices. The last updates still come.
  virtual void Cancel() = 0;
  virtual int32_t prompt_tokens() const = 0;
  virtual QueuePlace place() const = 0;
};

// Called in order, on the writer's thread; the last call has the last choice's `finish`. Returns
// false if the answer cannot be delivered any more: then the run is cancelled.
using ChatSink = std::function<bool(const ChatUpdate&)>;

// Blocks for rendering and compiling: not for gRPC's or the HTTP server's own threads. Errors:
// INVALID_ARGUMENT naming the field; what Gate::Enter and Engine::Submit return. On an error the
// sink is not called.
absl::StatusOr<std::shared_ptr<ChatRun>> StartChat(const ServiceContext& service, ChatCall call,
                                                   const Caller& caller, const RequestTags& tags,
                                                   ChatSink sink);

// The prompt of a conversation as StartChat() would compute it.
absl::StatusOr<RenderedChat> RenderPrompt(const ServiceContext& service, const ChatPrompt& prompt);

// Of a choice that has ended, into its request's log: usage, finish, divergence. `counts_prompt`:
// of the choices to one prompt, one counts it.
void NoteEnd(const ChatUpdate& update, bool counts_prompt, RequestLog& log);

}  // namespace tandem
