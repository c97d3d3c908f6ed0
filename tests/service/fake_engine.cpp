#include "tests/service/fake_engine.h"

#include <atomic>
#include <utility>

#include "absl/strings/cord.h"
#include "engine/request_check.h"

namespace tandem {
namespace {

const std::vector<std::string>& SpecialTexts() {
  static const std::vector<std::string> texts = {"[BOS]",
                                                 "[EOS]",
                                                 "<|im_end|>",
                                                 "<|im_user|>",
                                                 "<|im_assistant|>",
                                                 "<|im_system|>",
                                                 "<|im_middle|>",
                                                 "<think>",
                                                 "</think>",
                                                 "<|tool_calls_section_begin|>",
                                                 "<|tool_calls_section_end|>",
                                                 "<|tool_call_begin|>",
                                                 "<|tool_call_argument_begin|>",
                                                 "<|tool_call_end|>"};
  return texts;
}
constexpr int32_t kFirstKept = 7;  // "<think>": from here on, not flagged special

}  // namespace

std::vector<int32_t> FakeTokenizer::Encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> ids;
  while (!text.empty()) {
    size_t length = 1;
    int32_t id = static_cast<unsigned char>(text[0]);
    for (size_t i = 0; parse_special && i < SpecialTexts().size(); ++i) {
      if (!text.starts_with(SpecialTexts()[i])) continue;
      length = SpecialTexts()[i].size();
      id = 256 + static_cast<int32_t>(i);
    }
    ids.push_back(id);
    text.remove_prefix(length);
  }
  return ids;
}

std::string FakeTokenizer::DecodeBytes(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (int32_t id : ids) {
    if (id < 256) {
      bytes.push_back(static_cast<char>(id));
    } else if (!skip_special || !IsSkipped(id)) {
      bytes += SpecialTexts()[id - 256];
    }
  }
  return bytes;
}

int32_t FakeTokenizer::vocab_size() const {
  return 256 + static_cast<int32_t>(SpecialTexts().size());
}

std::optional<int32_t> FakeTokenizer::SpecialId(std::string_view text) const {
  for (size_t i = 0; i < SpecialTexts().size(); ++i) {
    if (SpecialTexts()[i] == text) return 256 + static_cast<int32_t>(i);
  }
  return std::nullopt;
}

bool FakeTokenizer::IsSkipped(int32_t id) const { return id >= 256 && id < 256 + kFirstKept; }

struct FakeEngine::Sequence final : Generation {
  void Cancel() override { cancelled = true; }
  QueuePlace place() const override { return {}; }

  GenerationRequest request;
  std::vector<int32_t> answer;
  size_t next = 0;
  Utf8Stream utf8;
  std::atomic<bool> cancelled = false;
};

FakeEngine::FakeEngine(Script script) : script_(std::move(script)) {
  config_.model_type = "kimi_k25";  // whose chat format it has
  config_.shape.vocab = tokenizer_.vocab_size();
  config_.eos_ids = {*tokenizer_.SpecialId("<|im_end|>")};
  thread_ = std::thread([this] { Run(); });
}

FakeEngine::~FakeEngine() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    for (auto& sequence : running_) sequence->Cancel();
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<std::shared_ptr<Generation>> FakeEngine::Submit(GenerationRequest request) {
  TANDEM_RETURN_IF_ERROR(Validate(request, tokenizer_.vocab_size(), max_context()));
  auto sequence = std::make_shared<Sequence>();
  const std::string prompt = tokenizer_.DecodeBytes(request.prompt_ids, /*skip_special=*/false);
  if (script_.refuse) {
    if (const absl::Status refused = script_.refuse(prompt); !refused.ok()) return refused;
  }
  sequence->answer = tokenizer_.Encode(script_.answer ? script_.answer(prompt) : prompt, true);
  sequence->request = std::move(request);
  {
    std::lock_guard lock(mutex_);
    if (static_cast<int32_t>(running_.size()) >= script_.max_queue) {
      auto status = absl::ResourceExhaustedError("the queue is full");
      status.SetPayload(kRetryAfterMsPayload, absl::Cord("1234"));
      return status;
    }
    last_request_ = sequence->request;
    last_request_.on_event = nullptr;  // it may hold whoever asked
    last_request_.constraint = nullptr;
    running_.push_back(sequence);
  }
  changed_.notify_all();
  return sequence;
}

absl::StatusOr<std::vector<TokenScore>> FakeEngine::Score(const std::vector<int32_t>&) {
  return absl::UnimplementedError("scripted");
}

EngineStats FakeEngine::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats;
  stats.running = static_cast<int32_t>(running_.size());
  stats.generated_tokens = generated_;
  stats.batch_paused = batch_paused_;
  return stats;
}

void FakeEngine::PauseBatch(bool paused) {
  std::lock_guard lock(mutex_);
  batch_paused_ = paused;
}

LayerTimes FakeEngine::layer_times() const {
  LayerTimes times;
  for (auto& of : times.by_phase) of = {1, {0, 1e-3, 2e-3}, {0, 1e-3, 2e-3}};
  return times;
}

bool FakeEngine::HasFinished(size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10),
                           [this, count] { return finished_.size() >= count && running_.empty(); });
}

std::vector<FinishReason> FakeEngine::finished() const {
  std::lock_guard lock(mutex_);
  return finished_;
}

bool FakeEngine::Step(Sequence& sequence) {
  GenerationEvent event;
  const GenerationRequest& request = sequence.request;
  const bool full =
      request.max_tokens > 0 && sequence.next >= static_cast<size_t>(request.max_tokens);
  if (sequence.cancelled) {
    event.finish = FinishReason::kCancelled;
  } else if (request.deadline && std::chrono::steady_clock::now() >= *request.deadline) {
    event.finish = FinishReason::kDeadline;
  } else if (full || sequence.next == sequence.answer.size()) {
    event.finish = full ? FinishReason::kLength : FinishReason::kStop;
    event.text = sequence.utf8.Finish();
  } else {
    const int32_t id = sequence.answer[sequence.next++];
    GeneratedToken token{id, -0.5f, {}};
    for (int32_t i = 0; i < request.sampling.top_logprobs; ++i) token.top.push_back({i, -1.0f - i});
    event.tokens.push_back(std::move(token));
    TellObservers(sequence);
    event.text = sequence.utf8.Push(tokenizer_.DecodeBytes({&id, 1}, request.skip_special));
  }
  event.usage.prompt_tokens = static_cast<int32_t>(request.prompt_ids.size());
  event.usage.completion_tokens = static_cast<int32_t>(sequence.next);
  request.on_event(event);
  std::lock_guard lock(mutex_);
  if (event.finish) finished_.push_back(*event.finish);
  generated_ += static_cast<int64_t>(event.tokens.size());
  return !event.finish.has_value();
}

absl::Status FakeEngine::Observe(std::shared_ptr<RoutingObserver> observer) {
  std::lock_guard lock(observers_mutex_);
  observers_.push_back(std::move(observer));
  return absl::OkStatus();
}

absl::Status FakeEngine::StopObserving(const RoutingObserver* observer) {
  std::lock_guard lock(observers_mutex_);
  std::erase_if(observers_, [&](const auto& held) { return held.get() == observer; });
  return absl::OkStatus();
}

GenerationRequest FakeEngine::last_request() const {
  std::lock_guard lock(mutex_);
  return last_request_;
}

size_t FakeEngine::n_observers() {
  std::lock_guard lock(observers_mutex_);
  return observers_.size();
}

void FakeEngine::TellObservers(const Sequence& sequence) {
  const int32_t id = sequence.answer[sequence.next - 1];
  const int32_t experts[] = {id % 8, (id + 1) % 8};
  const float weights[] = {0.75f, 0.25f};
  const RoutedRow row = {0, sequence.request.label, Phase::kDecode};
  std::lock_guard lock(observers_mutex_);
  for (const auto& observer : observers_) {
    observer->BeginStep({&row, 1});
    for (int32_t layer = 1; layer < 3; ++layer)
      observer->Routed({layer}, 0, {experts, {1, 2}}, {weights, {1, 2}});
    observer->EndStep();
  }
}

void FakeEngine::Run() {
  for (;;) {
    std::list<std::shared_ptr<Sequence>> batch;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closed_ || !running_.empty(); });
      if (running_.empty()) return;
      batch = running_;
    }
    if (script_.step_time.count() > 0) std::this_thread::sleep_for(script_.step_time);
    for (auto& sequence : batch) {
      if (Step(*sequence)) continue;
      std::lock_guard lock(mutex_);
      running_.remove(sequence);
    }
    changed_.notify_all();
  }
}

}  // namespace tandem
