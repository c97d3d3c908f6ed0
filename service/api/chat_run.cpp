#include "service/api/chat_run.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "service/access/request_log.h"
#include "service/api/chat_request.h"
#include "service/api/token_parts.h"

namespace tandem {
namespace {

ChatFinish ToChatFinish(FinishReason reason, bool called) {
  switch (reason) {
    case FinishReason::kStop:
      return called ? ChatFinish::kToolCalls : ChatFinish::kStop;
    case FinishReason::kLength:
      return ChatFinish::kLength;
    case FinishReason::kCancelled:
      return ChatFinish::kCancelled;
    case FinishReason::kDeadline:
      return ChatFinish::kDeadline;
    case FinishReason::kError:
      break;
  }
  return ChatFinish::kError;
}

const char* Name(ChatFinish finish) {
  switch (finish) {
    case ChatFinish::kStop:
      return "stop";
    case ChatFinish::kLength:
      return "length";
    case ChatFinish::kToolCalls:
      return "tool_calls";
    case ChatFinish::kCancelled:
      return "cancelled";
    case ChatFinish::kDeadline:
      return "deadline";
    case ChatFinish::kError:
      break;
  }
  return "error";
}

// What the engine reported and the writer has not seen yet.
void Merge(const GenerationEvent& from, GenerationEvent& to) {
  to.tokens.insert(to.tokens.end(), from.tokens.begin(), from.tokens.end());
  to.text += from.text;
  if (!from.finish) return;
  to.finish = from.finish;
  to.stop_string = from.stop_string;
  to.status = from.status;
  to.usage = from.usage;
  to.divergence = from.divergence;
}

}  // namespace

// Engine's thread: OnEvent, adds to what is pending of a choice. Writer's thread: Flush, takes the
// pending apart and tells the sink. The engine holds a run by its callbacks until its last event.
class ChatRunImpl final : public ChatRun, public std::enable_shared_from_this<ChatRunImpl> {
 public:
  ChatRunImpl(const ServiceContext& service, std::unique_ptr<Gate::Pass> pass, ChatSink sink)
      : service_(service), sink_(std::move(sink)), pass_(std::move(pass)) {}

  absl::Status Start(PreparedChat chat, int32_t n);
  void Cancel() override;
  int32_t prompt_tokens() const override { return prompt_tokens_; }
  QueuePlace place() const override;

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, const PreparedChat& chat)
        : parser(tokenizer, chat.in_reasoning, chat.first_call_index),
          parts(tokenizer, chat.in_reasoning) {}
    OutputParser parser;  // the writer's
    TokenParts parts;     // the writer's
    GenerationEvent pending;
    bool has_pending = false;
    bool finished = false;  // the engine's last event has come
    std::shared_ptr<Generation> generation;
  };

  absl::StatusOr<GenerationRequest> RequestFor(const PreparedChat& chat, int32_t choice);
  void Submitted(int32_t choice, std::shared_ptr<Generation> generation);
  void OnEvent(int32_t choice, const GenerationEvent& event);
  void WakeWriter();
  void Flush();
  ChatUpdate Encode(int32_t choice, const GenerationEvent& event);
  std::shared_ptr<Gate::Pass> Pass();
  void Settle(const ChatUpdate& last);
  std::string Describe(const CacheDivergence& divergence) const;
  void CancelGenerations();

  const ServiceContext& service_;
  ChatSink sink_;  // the writer's; null once nobody listens
  bool is_chat_ = false;
  int32_t prompt_tokens_ = 0;

  mutable std::mutex mutex_;
  std::shared_ptr<Gate::Pass> pass_;  // until the last choice has ended
  std::vector<Choice> choices_;
  bool started_ = false;      // all choices are submitted: updates may be told
  bool wake_posted_ = false;  // Flush() is in the writer's queue
  int32_t settled_ = 0;       // choices that have ended; the writer's
};

absl::StatusOr<GenerationRequest> ChatRunImpl::RequestFor(const PreparedChat& chat,
                                                          int32_t choice) {
  GenerationRequest request = chat.request;
  if (request.sampling.seed) *request.sampling.seed += choice;
  if (chat.has_rules) {
    TANDEM_ASSIGN_OR_RETURN(request.constraint, service_.constraints.Compile(chat.rules));
  }
  request.on_event = [run = shared_from_this(), choice](const GenerationEvent& event) {
    run->OnEvent(choice, event);
  };
  return request;
}

absl::Status ChatRunImpl::Start(PreparedChat chat, int32_t n) {
  is_chat_ = chat.is_chat;
  prompt_tokens_ = static_cast<int32_t>(chat.request.prompt_ids.size());
  for (int32_t i = 0; i < n; ++i) choices_.emplace_back(service_.engine.tokenizer(), chat);
  for (int32_t i = 0; i < n; ++i) {
    absl::StatusOr<GenerationRequest> request = RequestFor(chat, i);
    auto generation = request.ok() ? service_.engine.Submit(*std::move(request))
                                   : absl::StatusOr<std::shared_ptr<Generation>>(request.status());
    if (!generation.ok()) {  // those already submitted end unheard
      CancelGenerations();
      return generation.status();
    }
    Submitted(i, *std::move(generation));
  }
  // If the agent was cancelled meanwhile, this cancels at once.
  Pass()->OnCancel([run = weak_from_this()] {
    if (const auto held = run.lock()) held->CancelGenerations();
  });
  std::lock_guard lock(mutex_);
  started_ = true;
  WakeWriter();
  return absl::OkStatus();
}

// After the last event nobody needs the handle any more (and it may hold us).
void ChatRunImpl::Submitted(int32_t choice, std::shared_ptr<Generation> generation) {
  std::lock_guard lock(mutex_);
  if (!choices_[choice].finished) choices_[choice].generation = std::move(generation);
}

void ChatRunImpl::CancelGenerations() {
  std::vector<std::shared_ptr<Generation>> generations;
  {
    std::lock_guard lock(mutex_);
    for (const Choice& choice : choices_)
      if (choice.generation != nullptr) generations.push_back(choice.generation);
  }
  for (const auto& generation : generations) generation->Cancel();
}

void ChatRunImpl::Cancel() {
  CancelGenerations();
  if (const auto pass = Pass()) pass->NoteGone();
}

std::shared_ptr<Gate::Pass> ChatRunImpl::Pass() {
  std::lock_guard lock(mutex_);
  return pass_;
}

// Before the client knows of the end, so that its next request finds the place free.
void ChatRunImpl::Settle(const ChatUpdate& last) {
  const std::shared_ptr<Gate::Pass> pass = Pass();
  pass->NoteUsage(last.usage.usage);
  if (++settled_ < static_cast<int32_t>(choices_.size())) return;
  std::lock_guard lock(mutex_);
  pass_ = nullptr;
}

QueuePlace ChatRunImpl::place() const {
  std::lock_guard lock(mutex_);
  for (const Choice& choice : choices_)
    if (choice.generation != nullptr) return choice.generation->place();
  return {};
}

void ChatRunImpl::OnEvent(int32_t index, const GenerationEvent& event) {
  std::shared_ptr<Generation> done;  // dropped outside the lock
  std::lock_guard lock(mutex_);
  Choice& choice = choices_[index];
  Merge(event, choice.pending);
  choice.has_pending = true;
  if (event.finish) {
    choice.finished = true;
    done = std::move(choice.generation);
  }
  WakeWriter();
}

// REQUIRES: mutex_ is held.
void ChatRunImpl::WakeWriter() {
  if (!started_ || wake_posted_) return;
  wake_posted_ = true;
  service_.writer.Post([run = shared_from_this()] { run->Flush(); });
}

void ChatRunImpl::Flush() {
  std::vector<std::pair<int32_t, GenerationEvent>> events;
  {
    std::lock_guard lock(mutex_);
    wake_posted_ = false;
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (!std::exchange(choices_[i].has_pending, false)) continue;
      events.emplace_back(static_cast<int32_t>(i), std::exchange(choices_[i].pending, {}));
    }
  }
  for (const auto& [choice, event] : events) {
    const ChatUpdate update = Encode(choice, event);
    if (update.finish) Settle(update);
    const bool says_something =
        !update.pieces.empty() || !update.tokens.empty() || update.finish.has_value();
    if (sink_ && says_something && !sink_(update)) {
      sink_ = nullptr;
      Cancel();
    }
    // It may hold who holds us.
    if (settled_ == static_cast<int32_t>(choices_.size())) sink_ = nullptr;
  }
}

ChatUpdate ChatRunImpl::Encode(int32_t index, const GenerationEvent& event) {
  Choice& choice = choices_[index];  // its parser and parts are the writer's alone
  ChatUpdate update;
  update.choice = index;
  if (is_chat_) {
    update.pieces = choice.parser.Push(event.tokens, event.text);
  } else if (!event.text.empty()) {
    update.pieces.push_back({AnswerPiece::Kind::kText, event.text, 0, "", ""});
  }
  for (const GeneratedToken& token : event.tokens)
    update.tokens.push_back({token, is_chat_ ? choice.parts.PartOf(token.id) : TokenPart::kText});
  if (!event.finish) return update;
  if (is_chat_) {
    const bool cut = event.finish != FinishReason::kStop;
    for (AnswerPiece& piece : choice.parser.Finish(cut)) update.pieces.push_back(std::move(piece));
  }
  update.finish = ToChatFinish(*event.finish, choice.parser.complete_calls() > 0);
  update.stop_string = event.stop_string;
  update.status = event.status;
  update.usage = {event.usage, choice.parts.reasoning_tokens()};
  if (event.divergence) update.divergence = Describe(*event.divergence);
  return update;
}

std::string ChatRunImpl::Describe(const CacheDivergence& divergence) const {
  std::string text =
      absl::StrCat("left the cached prompt at token ", divergence.position, " of ", prompt_tokens_);
  if (!service_.policy.log_prompts) return text;
  const auto quote = [&](const std::vector<int32_t>& ids) {
    return absl::StrCat("\"", absl::CEscape(service_.engine.tokenizer().DecodeBytes(ids, false)),
                        "\"");
  };
  return absl::StrCat(text, ": cached ", quote(divergence.cached), ", prompt ",
                      quote(divergence.prompt));
}

absl::StatusOr<std::shared_ptr<ChatRun>> StartChat(const ServiceContext& service, ChatCall call,
                                                   const Caller& caller, const RequestTags& tags,
                                                   ChatSink sink) {
  TANDEM_ASSIGN_OR_RETURN(auto pass, service.gate.Enter(caller, tags));
  const int32_t n = call.n;
  TANDEM_CHECK(n >= 1, "a call asks for an answer at least");
  TANDEM_ASSIGN_OR_RETURN(PreparedChat chat, PrepareChat(service, std::move(call), caller, tags));
  auto run = std::make_shared<ChatRunImpl>(service, std::move(pass), std::move(sink));
  TANDEM_RETURN_IF_ERROR(run->Start(std::move(chat), n));
  return run;
}

void NoteEnd(const ChatUpdate& update, bool counts_prompt, RequestLog& log) {
  if (!update.finish) return;
  const Usage& usage = update.usage.usage;
  log.generated = true;
  if (counts_prompt) {
    log.usage.prompt_tokens += usage.prompt_tokens;
    log.usage.cached_tokens += usage.cached_tokens;
  }
  log.usage.completion_tokens += usage.completion_tokens;
  log.usage.queue_s = std::max(log.usage.queue_s, usage.queue_s);
  log.usage.prefill_s = std::max(log.usage.prefill_s, usage.prefill_s);
  log.usage.decode_s = std::max(log.usage.decode_s, usage.decode_s);
  log.first_token_s = log.usage.queue_s + log.usage.prefill_s;
  log.finish = Name(*update.finish);
  if (!update.divergence.empty()) log.divergence = update.divergence;
}

}  // namespace tandem
