#include "bench/step_rates.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/step.h"

namespace tandem {
namespace {

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

// Of unsorted values.
double Quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  return values[static_cast<size_t>(q * (std::ssize(values) - 1) + 0.5)];
}

StepRate RateOf(int32_t batch, int64_t context, double tokens, const std::vector<double>& seconds) {
  const double median = Quantile(seconds, 0.5);
  return {.batch = batch,
          .context = context,
          .tok_per_s = tokens / median,
          .spread = (Quantile(seconds, 0.75) - Quantile(seconds, 0.25)) / median};
}

// The sequences of one context, each with pages of its own.
class Sequences {
 public:
  Sequences(EngineParts& parts, StepRunner& runner, const StepRatesOptions& options,
            int64_t context)
      : parts_(parts), runner_(runner), options_(options), context_(context) {}

  // Prefills the first ones, copies the rest. Appends the seconds of every prefill.
  absl::Status Prepare(int32_t count, std::vector<double>& prefill_s) {
    double spent_s = 0;
    for (int32_t i = 0; i < count; ++i) {
      Add(i);
      Sequence& sequence = *sequences_.back();
      const auto prefilled = std::ssize(prefill_s);
      if (prefilled < 1 || spent_s < options_.prefill_s) {
        const auto begin = Clock::now();
        TANDEM_RETURN_IF_ERROR(Prefill(sequence));
        prefill_s.push_back(Seconds(begin));
        spent_s += prefill_s.back();
        continue;
      }
      const auto& from = sequences_[i % prefilled]->pages();
      for (int64_t page = 0; page < PagesFor(context_); ++page)
        parts_.model->CopyPage(from[page], sequence.pages()[page]);
      sequence.AddCached(static_cast<int32_t>(context_) - 1);
      TANDEM_RETURN_IF_ERROR(Step({{&sequence, 1}}));
    }
    return absl::OkStatus();
  }

  // One decode step of the first `batch` sequences.
  absl::StatusOr<double> TimeStep(int32_t batch) {
    std::vector<PlannedSlice> plan;
    for (int32_t i = 0; i < batch; ++i) plan.push_back({sequences_[i].get(), 1});
    const auto begin = Clock::now();
    TANDEM_RETURN_IF_ERROR(Step(plan));
    return Seconds(begin);
  }

  // Tokens that a sequence generates at most.
  static int64_t Room(const StepRatesOptions& options) {
    return std::ssize(options.batches) * int64_t{options.steps + 1} + 2;
  }

  double MeanCached(int32_t batch) const {
    double sum = 0;
    for (int32_t i = 0; i < batch; ++i) sum += sequences_[i]->cached();
    return sum / batch;
  }

  void End() {
    for (const auto& sequence : sequences_)
      if (!sequence->ended())
        sequence->End(FinishReason::kCancelled, absl::OkStatus(), Clock::now());
  }

 private:
  void Add(int32_t i) {
    GenerationRequest request;
    const uint64_t seed = options_.seed + 1000003 * static_cast<uint64_t>(context_) + i;
    std::mt19937_64 random(seed);
    const int32_t ordinary = parts_.tokenizer->vocab_size() - 256;
    for (int64_t t = 0; t < context_; ++t)
      request.prompt_ids.push_back(static_cast<int32_t>(random() % ordinary));
    request.sampling.temperature = 0;
    request.ignore_eos = true;
    sequences_.push_back(std::make_unique<Sequence>(std::move(request), seed, *parts_.tokenizer,
                                                    Sequence::Limits{context_ + Room(options_), {}},
                                                    std::make_shared<GenerationHandle>()));
    auto& pages = sequences_.back()->pages();
    for (int64_t p = 0; p < PagesFor(context_ + Room(options_)); ++p) pages.push_back(next_page_++);
  }

  absl::Status Prefill(Sequence& sequence) {
    while (sequence.prefilling()) {
      const int64_t left = context_ - sequence.cached();
      const auto rows = std::min<int64_t>(left, parts_.options.max_step_tokens);
      TANDEM_RETURN_IF_ERROR(Step({{&sequence, static_cast<int32_t>(rows)}}));
    }
    return absl::OkStatus();
  }

  absl::Status Step(const std::vector<PlannedSlice>& plan) {
    runner_.Run(plan);
    for (const PlannedSlice& slice : plan)
      if (slice.sequence->ended())
        return absl::InternalError("a step of the bench failed; see above");
    return absl::OkStatus();
  }

  EngineParts& parts_;
  StepRunner& runner_;
  const StepRatesOptions& options_;
  const int64_t context_;
  int32_t next_page_ = 0;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

absl::Status Check(const EngineParts& parts, const StepRatesOptions& options) {
  if (options.batches.empty() || options.contexts.empty())
    return absl::InvalidArgumentError("batches and contexts: at least one of each");
  const int64_t longest = std::ranges::max(options.contexts) + Sequences::Room(options);
  if (longest > parts.config.shape.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("context ", std::ranges::max(options.contexts),
                                                   " and the tokens behind it are more than the "
                                                   "model's ",
                                                   parts.config.shape.max_positions, " positions"));
  }
  const int64_t most = std::ranges::max(options.batches);
  if (most > parts.options.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat("batch ", most, " is more than the ",
                                                   parts.options.max_sequences,
                                                   " sequences of --max-sequences"));
  }
  if (most * PagesFor(longest) > parts.kv_pages) {
    return absl::InvalidArgumentError(
        absl::StrCat(most, " sequences of ", longest, " tokens need ", most * PagesFor(longest),
                     " pages of latent cache, there are ", parts.kv_pages, ": raise --kv-tokens"));
  }
  return absl::OkStatus();
}

// The steps of one context, all batches in turn.
absl::Status MeasureContext(EngineParts& parts, const StepRatesOptions& options, int64_t context,
                            std::vector<StepRate>& prefill, std::vector<StepRate>& decode) {
  StepRunner runner(*parts.model, *parts.team);
  Sequences sequences(parts, runner, options, context);
  std::vector<double> prefill_s;
  absl::Status status = sequences.Prepare(std::ranges::max(options.batches), prefill_s);
  std::vector<std::vector<double>> steps(options.batches.size());
  std::vector<double> cached(options.batches.size());
  for (size_t b = 0; b < options.batches.size() && status.ok(); ++b) {
    status = sequences.TimeStep(options.batches[b]).status();  // to warm up
    for (int32_t i = 0; i < options.steps && status.ok(); ++i) {
      const auto seconds = sequences.TimeStep(options.batches[b]);
      status = seconds.status();
      if (status.ok()) steps[b].push_back(*seconds);
    }
    cached[b] = sequences.MeanCached(options.batches[b]) - (options.steps + 1) / 2.0;
  }
  sequences.End();
  TANDEM_RETURN_IF_ERROR(status);
  prefill.push_back(RateOf(0, context, context, prefill_s));
  for (size_t b = 0; b < options.batches.size(); ++b) {
    decode.push_back(RateOf(options.batches[b], context, options.batches[b], steps[b]));
    decode.back().mean_cached = cached[b];
  }
  return absl::OkStatus();
}

}  // namespace

int64_t StepRatesKvTokens(const StepRatesOptions& options) {
  const int64_t longest = std::ranges::max(options.contexts) + Sequences::Room(options);
  return std::ranges::max(options.batches) * PagesFor(longest) * kPageTokens;
}

absl::StatusOr<std::vector<StepRate>> MeasureStepRates(EngineParts& parts,
                                                       const StepRatesOptions& options) {
  TANDEM_RETURN_IF_ERROR(Check(parts, options));
  const WorkerTeam::Awake awake(*parts.team);
  std::vector<StepRate> rates, decode;
  StepRatesOptions warm_up = options;
  warm_up.contexts = {std::min<int64_t>(64, std::ranges::min(options.contexts))};
  warm_up.steps = 1;
  TANDEM_RETURN_IF_ERROR(MeasureContext(parts, warm_up, warm_up.contexts[0], rates, decode));
  rates.clear();
  decode.clear();
  for (const int64_t context : options.contexts)
    TANDEM_RETURN_IF_ERROR(MeasureContext(parts, options, context, rates, decode));
  rates.insert(rates.end(), decode.begin(), decode.end());
  return rates;
}

std::vector<StepRate> MedianRates(const std::vector<std::vector<StepRate>>& rounds) {
  std::vector<StepRate> medians = rounds.front();
  for (size_t i = 0; i < medians.size(); ++i) {
    std::vector<double> rates;
    for (const auto& round : rounds) rates.push_back(round[i].tok_per_s);
    medians[i].tok_per_s = Quantile(rates, 0.5);
    if (rounds.size() > 1)
      medians[i].spread = (Quantile(rates, 1) - Quantile(rates, 0)) / medians[i].tok_per_s;
  }
  return medians;
}

}  // namespace tandem
