#include "engine/step.h"

#include <algorithm>
#include <functional>

#include "core/log.h"
#include "core/trace.h"
#include "engine/log_softmax.h"

namespace tandem {
namespace {

constexpr int32_t kScoreTop = 5;

absl::StatusOr<GeneratedToken> Score(std::span<const float> logits, int32_t id) {
  TANDEM_ASSIGN_OR_RETURN(const LogitRange range, FiniteRange(logits));
  const double log_sum_exp = LogSumExp(logits, range.max);
  return GeneratedToken{id, static_cast<float>(logits[id] - log_sum_exp),
                        TopTokens(logits, log_sum_exp, kScoreTop)};
}

// Nothing that changes or shows the logits.
bool NeedsOnlyAToken(const Sequence& sequence) {
  if (sequence.scoring()) return false;
  const SamplingParams& params = sequence.sampling();
  return params.top_logprobs <= 0 && params.logit_bias.empty() && !sequence.history().active();
}

absl::Status Constrain(Sequence& sequence, int32_t id) {
  return sequence.constraint() ? sequence.constraint()->Accept(id) : absl::OkStatus();
}

}  // namespace

StepRunner::StepRunner(Model& model, WorkerTeam& team)
    : model_(model), team_(team), samplers_(team.size(), Sampler(model.shape().vocab)) {
  model_.set_observer(&routing_);
}

StepCounts StepRunner::Run(const std::vector<PlannedSlice>& plan) {
  counts_ = {};
  if (const absl::Status status = RunAll(plan); !status.ok()) {
    LogError("a step failed: {}", std::string(status.message()));
    for (const PlannedSlice& slice : plan)
      if (!slice.sequence->ended()) slice.sequence->End(FinishReason::kError, status, Clock::now());
    return {};
  }
  return counts_;
}

absl::Status StepRunner::RunAll(const std::vector<PlannedSlice>& plan) {
  TANDEM_RETURN_IF_ERROR(Forward(plan));
  for (size_t begin = 0; begin < wanted_.size(); begin += kLogitRows)
    TANDEM_RETURN_IF_ERROR(FinishRows(
        std::span(wanted_).subspan(begin, std::min<size_t>(kLogitRows, wanted_.size() - begin))));
  for (const PlannedSlice& slice : plan)
    if (slice.sequence->scoring() && !slice.sequence->prefilling() && !slice.sequence->ended())
      slice.sequence->EndScoring();
  return absl::OkStatus();
}

absl::Status StepRunner::Forward(const std::vector<PlannedSlice>& plan) {
  token_ids_.clear();
  slices_.clear();
  wanted_.clear();
  routed_rows_.clear();
  for (const auto& [sequence, tokens] : plan) {
    const auto first_row = static_cast<int32_t>(token_ids_.size());
    const int32_t begin = sequence->cached(), end = begin + tokens;
    const std::span<const int32_t> ids = sequence->NextIds(tokens);
    token_ids_.insert(token_ids_.end(), ids.begin(), ids.end());
    slices_.push_back({first_row, tokens, begin, sequence->pages()});
    const Phase phase = sequence->prefilling() ? Phase::kPrefill : Phase::kDecode;
    routed_rows_.insert(routed_rows_.end(), tokens, {sequence->number(), sequence->label(), phase});
    // Scoring wants every row but the very last; a generation only the row behind what is filled.
    const bool reaches_end = end >= sequence->fill_tokens();
    const int32_t wanted_begin = sequence->scoring() ? begin : reaches_end ? end - 1 : end;
    const int32_t wanted_end = sequence->scoring() && reaches_end ? end - 1 : end;
    for (int32_t position = wanted_begin; position < wanted_end; ++position)
      wanted_.push_back({sequence, first_row + position - begin, position});
  }
  routing_.BeginStep(routed_rows_);
  TANDEM_RETURN_IF_ERROR(model_.Forward({token_ids_, slices_}));
  routing_.EndStep();
  for (const auto& [sequence, tokens] : plan) {
    (sequence->prefilling() ? counts_.prompt_tokens : counts_.decode_rows) += tokens;
    counts_.cached_tokens += int64_t{tokens} * sequence->cached();
    sequence->AddCached(tokens);
  }
  return absl::OkStatus();
}

absl::Status StepRunner::FinishRows(std::span<const WantedRow> wanted) {
  std::vector<int32_t> rows;
  for (const WantedRow& w : wanted) rows.push_back(w.row);
  AskConstraints(wanted);
  const bool on_backend =
      model_.samples() && std::ranges::none_of(restricted_, std::identity()) &&
      std::ranges::all_of(wanted, [](const WantedRow& w) { return NeedsOnlyAToken(*w.sequence); });
  TANDEM_ASSIGN_OR_RETURN(RowResults tokens,
                          on_backend ? SampleOnBackend(wanted, rows) : SampleHere(wanted, rows));
  const Clock::time_point now = Clock::now();
  for (size_t i = 0; i < wanted.size(); ++i) {
    Sequence& sequence = *wanted[i].sequence;
    if (sequence.ended()) continue;  // an earlier row of a scoring failed
    if (!tokens[i].ok()) {
      sequence.End(FinishReason::kError, std::move(tokens[i]).status(), now);
    } else if (sequence.scoring()) {
      ++counts_.scores;
      sequence.AddScore({tokens[i]->id, tokens[i]->logprob, std::move(tokens[i]->top)});
    } else if (const absl::Status fits = Constrain(sequence, tokens[i]->id); !fits.ok()) {
      sequence.End(FinishReason::kError, fits, now);
    } else {
      sequence.Accept(*std::move(tokens[i]), now);
      ++counts_.generated_tokens;
    }
  }
  return absl::OkStatus();
}

void StepRunner::AskConstraints(std::span<const WantedRow> wanted) {
  restricted_.assign(wanted.size(), false);
  const size_t words = MaskWords(model_.shape().vocab);
  std::vector<size_t> constrained;
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i].sequence->constraint()) constrained.push_back(i);
  if (constrained.empty()) return;
  masks_.resize(wanted.size() * words);
  TraceSpan span("constrain", static_cast<int64_t>(constrained.size()));
  team_.ParallelFor(
      static_cast<int64_t>(constrained.size()), 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t c = begin; c < end; ++c) {
          const size_t i = constrained[c];
          restricted_[i] =
              wanted[i].sequence->constraint()->Next({masks_.data() + i * words, words});
        }
      });
}

std::span<const uint32_t> StepRunner::Allowed(size_t row) const {
  if (!restricted_[row]) return {};
  const size_t words = MaskWords(model_.shape().vocab);
  return {masks_.data() + row * words, words};
}

absl::StatusOr<StepRunner::RowResults> StepRunner::SampleOnBackend(
    std::span<const WantedRow> wanted, std::span<const int32_t> rows) {
  std::vector<RowSampling> how;
  for (const WantedRow& w : wanted) {
    const SamplingParams& params = w.sequence->sampling();
    how.push_back({.uniform = UniformAt(w.sequence->seed(), w.sequence->step()),
                   .temperature = params.temperature,
                   .top_k = params.top_k,
                   .top_p = params.top_p,
                   .min_p = params.min_p});
  }
  TANDEM_ASSIGN_OR_RETURN(const std::vector<SampledToken> sampled, model_.Sample(rows, how));
  RowResults tokens;
  for (const SampledToken& token : sampled) {
    if (token.id < 0) {
      tokens.push_back(absl::InternalError("the model's logits are not finite"));
    } else {
      tokens.push_back(GeneratedToken{token.id, token.logprob});
    }
  }
  return tokens;
}

absl::StatusOr<StepRunner::RowResults> StepRunner::SampleHere(std::span<const WantedRow> wanted,
                                                              std::span<const int32_t> rows) {
  TANDEM_ASSIGN_OR_RETURN(const auto logits, model_.Logits(rows));
  RowResults tokens(wanted.size());
  TraceSpan span("sample", static_cast<int64_t>(wanted.size()));
  team_.ParallelFor(
      static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i)
          tokens[i] = Finish(wanted[i], {logits.row(i), static_cast<size_t>(logits.dim(1))},
                             Allowed(i), worker);
      });
  return tokens;
}

absl::StatusOr<GeneratedToken> StepRunner::Finish(const WantedRow& wanted,
                                                  std::span<const float> logits,
                                                  std::span<const uint32_t> allowed, int worker) {
  const Sequence& sequence = *wanted.sequence;
  if (sequence.scoring()) return Score(logits, sequence.IdAfter(wanted.position));
  return samplers_[worker].Sample(logits, sequence.sampling(), sequence.history(), sequence.seed(),
                                  sequence.step(), allowed);
}

}  // namespace tandem
