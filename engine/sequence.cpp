#include "engine/sequence.h"

#include <algorithm>
#include <exception>

#include "core/log.h"

namespace tandem {
namespace {

double Seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int64_t MaxIds(const GenerationRequest& request, int64_t max_context) {
  if (request.max_tokens == 0) return max_context;
  return std::min<int64_t>(
      max_context, int64_t{request.max_tokens} + static_cast<int64_t>(request.prompt_ids.size()));
}

}  // namespace

Sequence::Sequence(GenerationRequest request, uint64_t seed, const Tokenizer& tokenizer,
                   Limits limits, std::shared_ptr<GenerationHandle> handle)
    : request_(std::move(request)),
      history_(request_.sampling, request_.prompt_ids),
      text_(tokenizer, request_.stop, request_.skip_special, request_.stop_scope),
      end_ids_(std::move(limits.end_ids)),
      max_ids_(MaxIds(request_, limits.max_context)),
      seed_(seed),
      handle_(std::move(handle)) {
  ids_ = std::move(request_.prompt_ids);
  prompt_tokens_ = fill_tokens_ = static_cast<int32_t>(ids_.size());
  max_cached_ = static_cast<int32_t>(max_ids_ - 1);  // the last token is never fed back
}

Sequence::Sequence(std::vector<int32_t> ids, const Tokenizer& tokenizer,
                   std::function<void(ScoreResult)> on_scored)
    : history_(request_.sampling, {}),
      text_(tokenizer, {}, true),
      ids_(std::move(ids)),
      prompt_tokens_(static_cast<int32_t>(ids_.size())),
      max_ids_(prompt_tokens_),
      max_cached_(prompt_tokens_),
      fill_tokens_(prompt_tokens_),
      on_scored_(std::move(on_scored)) {
  score_.scores.push_back({ids_[0], 0, {}});
}

void Sequence::Admitted(const PrefixMatch& match, Clock::time_point now) {
  const bool first_time = admitted_ == Clock::time_point{};
  if (first_time) admitted_ = now;
  if (first_time && match.fork) {
    constexpr ptrdiff_t kShownTokens = 10;
    const auto from = ids_.begin() + match.fork->position;
    divergence_ = {match.fork->position,
                   match.fork->cached,
                   {from, from + std::min(kShownTokens, ids_.end() - from)}};
  }
  const int32_t known = std::min(match.tokens(), prompt_tokens_);
  cached_prompt_tokens_ += std::max(0, known - most_cached_);
  AddCached(match.tokens());
  set_place({});
}

void Sequence::Preempted() {
  cached_ = 0;
  fill_tokens_ = static_cast<int32_t>(ids_.size());
  if (scoring()) score_.scores.resize(1);  // they come anew with the rows
}

std::optional<FinishReason> Sequence::Interrupted(Clock::time_point now) const {
  if (handle_ && handle_->cancelled()) return FinishReason::kCancelled;
  if (request_.deadline && now >= *request_.deadline) return FinishReason::kDeadline;
  return std::nullopt;
}

bool Sequence::IsEndToken(int32_t id) const {
  const auto holds = [id](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return holds(end_ids_) || holds(request_.stop_ids);
}

void Sequence::Accept(GeneratedToken token, Clock::time_point now) {
  if (step() == 0) first_token_ = now;
  ids_.push_back(token.id);
  history_.AddGenerated(token.id);

  GenerationEvent event;
  if (IsEndToken(token.id)) {
    event.finish = FinishReason::kStop;
  } else {
    event.text = text_.Push(token.id);
    if (text_.stopped()) {
      event.finish = FinishReason::kStop;
      event.stop_string = text_.stop_string();
    } else if (static_cast<int64_t>(ids_.size()) >= max_ids_) {
      event.finish = FinishReason::kLength;
    }
  }
  if (event.finish) event.text += text_.Finish();
  event.tokens.push_back(std::move(token));
  FillUsage(event, now);
  Report(std::move(event));
}

void Sequence::End(FinishReason reason, absl::Status status, Clock::time_point now) {
  failed_ = reason == FinishReason::kError;
  if (scoring()) {
    ended_ = true;
    score_.status = std::move(status);
    if (score_.status.ok()) score_.status = absl::CancelledError("the scoring was cancelled");
    return on_scored_(std::move(score_));
  }
  GenerationEvent event;
  event.text = text_.Finish();
  event.finish = reason;
  event.status = std::move(status);
  FillUsage(event, now);
  Report(std::move(event));
}

void Sequence::EndScoring() {
  ended_ = true;
  on_scored_(std::move(score_));
}

void Sequence::FillUsage(GenerationEvent& event, Clock::time_point now) const {
  Usage& usage = event.usage;
  usage.prompt_tokens = prompt_tokens_;
  usage.cached_tokens = cached_prompt_tokens_;
  usage.completion_tokens = static_cast<int32_t>(step());
  const bool admitted = admitted_ != Clock::time_point{};
  const bool answered = first_token_ != Clock::time_point{};
  usage.queue_s = Seconds(submitted_, admitted ? admitted_ : now);
  if (admitted) usage.prefill_s = Seconds(admitted_, answered ? first_token_ : now);
  if (answered) usage.decode_s = Seconds(first_token_, now);
  if (event.finish) event.divergence = divergence_;
}

void Sequence::Report(GenerationEvent event) {
  ended_ = event.finish.has_value();
  if (!request_.on_event) return;
  std::string thrown;
  try {
    return request_.on_event(event);
  } catch (const std::exception& e) {
    thrown = e.what();
  } catch (...) {
    thrown = "something that is no std::exception";
  }
  LogError("a request's on_event threw ({}); the request is cancelled", thrown);
  handle_->Cancel();
}

}  // namespace tandem
