#include "placement/batch_size.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

constexpr double kPageTokens = 64;  // of the latent cache
constexpr double kGoodEnough = 1.02;

int64_t Fit(const BatchLoad& job, const BatchRoom& limits) {
  const double shared = job.cached_share * job.prompt_tokens;
  // Half a page of each is empty on average.
  const double own = job.prompt_tokens - shared + job.answer_tokens / 2 + kPageTokens / 2;
  return static_cast<int64_t>((static_cast<double>(limits.kv_tokens) - shared) / own);
}

// The batch sizes worth comparing: all small ones, then steps of an eighth.
std::vector<int32_t> Candidates(int32_t most) {
  std::vector<int32_t> sizes;
  for (int32_t n = 1; n < most; n += std::max(1, n / 8)) sizes.push_back(n);
  sizes.push_back(most);
  return sizes;
}

// Seconds of a prompt row in steps that are full.
double PromptRowSeconds(const CostModel& costs, const Residences& where, const BatchLoad& job,
                        const BatchRoom& limits) {
  const double all = static_cast<double>(job.requests) * job.prompt_tokens;
  const double filled = std::max(job.prompt_tokens, std::min<double>(all, limits.chunk_tokens));
  const auto tokens = std::max<int64_t>(1, std::llround(filled));
  return costs.Prefill(where, tokens, limits.chunk_tokens, limits.stream).total_s /
         static_cast<double>(tokens);
}

BatchPrediction Predict(const CostModel& costs, const Residences& where, const BatchLoad& job,
                        const BatchRoom& limits, int32_t sequences, double row_s) {
  const auto requests = static_cast<double>(job.requests);
  const double n = std::min<double>(sequences, requests);
  const double prompt_rows = requests * job.prompt_tokens * (1 - job.cached_share);
  const double answer_steps = requests * job.answer_tokens / n;
  const double shared_steps = std::min(answer_steps, prompt_rows / limits.chunk_tokens);
  BatchPrediction result{.sequences = sequences, .fit = Fit(job, limits)};
  result.step = costs.Decode(where, static_cast<int32_t>(n),
                             std::llround(job.prompt_tokens + job.answer_tokens / 2));
  result.prompt_s = prompt_rows * row_s;
  // Beside prompt rows a decode row costs what these do, unless it is cheaper on its own.
  const double beside_s = std::min(result.step.total_s, n * row_s);
  result.answer_s = (answer_steps - shared_steps) * result.step.total_s + shared_steps * beside_s;
  result.requests_per_s = requests / result.total_s();
  result.answer_tok_per_s = requests * job.answer_tokens / result.total_s();
  return result;
}

absl::Status Wrong(const char* what, double value, const char* rule) {
  return absl::InvalidArgumentError(absl::StrCat(what, " is ", value, ", must be ", rule));
}

}  // namespace

absl::Status CheckBatchLoad(const BatchLoad& job, const BatchRoom& limits) {
  if (job.requests < 1)
    return Wrong("the number of requests", static_cast<double>(job.requests), "1 or more");
  if (!(job.prompt_tokens > 0) || !std::isfinite(job.prompt_tokens))
    return Wrong("the prompts' mean length", job.prompt_tokens, "above 0");
  if (!(job.answer_tokens > 0) || !std::isfinite(job.answer_tokens))
    return Wrong("the answers' mean length", job.answer_tokens, "above 0");
  if (!(job.cached_share >= 0 && job.cached_share <= 1))
    return Wrong("the cached share of the prompts", job.cached_share, "from 0 to 1");
  if (limits.kv_tokens < 1)
    return Wrong("the cache's size", static_cast<double>(limits.kv_tokens), "1 token or more");
  if (limits.max_sequences < 1)
    return Wrong("the most sequences at once", limits.max_sequences, "1 or more");
  if (limits.chunk_tokens < 1)
    return Wrong("the prompt rows of a step", limits.chunk_tokens, "1 or more");
  return absl::OkStatus();
}

BatchPrediction PredictBatch(const CostModel& costs, const Residences& where, const BatchLoad& job,
                             const BatchRoom& limits, int32_t sequences) {
  return Predict(costs, where, job, limits, sequences, PromptRowSeconds(costs, where, job, limits));
}

absl::StatusOr<BatchPrediction> ChooseBatchSize(const CostModel& costs, const Residences& where,
                                                const BatchLoad& job, const BatchRoom& limits) {
  TANDEM_RETURN_IF_ERROR(CheckBatchLoad(job, limits));
  const auto most = static_cast<int32_t>(std::max<int64_t>(
      1, std::min({int64_t{limits.max_sequences}, Fit(job, limits), job.requests})));
  const double row_s = PromptRowSeconds(costs, where, job, limits);
  std::vector<BatchPrediction> predictions;
  for (const int32_t sequences : Candidates(most))
    predictions.push_back(Predict(costs, where, job, limits, sequences, row_s));
  const double best_s = std::ranges::min(predictions, {}, &BatchPrediction::total_s).total_s();
  return *std::ranges::find_if(predictions, [&](const BatchPrediction& prediction) {
    return prediction.total_s() <= kGoodEnough * best_s;
  });
}

absl::StatusOr<BatchPrediction> ChooseBatchSize(const ModelShape& shape, const Machine& machine,
                                                const Plan& plan, const RoutingCounts& decode,
                                                const RoutingCounts& prefill, const BatchLoad& job,
                                                BatchRoom limits) {
  TANDEM_RETURN_IF_ERROR(CheckRates(machine, shape, plan.goals.weight_bits, plan.gpu));
  const RoutingModel decode_routing(shape, decode), prefill_routing(shape, prefill);
  const CostModel costs(shape, machine, plan.goals.weight_bits, plan.gpu, decode_routing,
                        prefill_routing);
  limits.stream = plan.prefill.stream;
  return ChooseBatchSize(costs, ResidencesOf(plan), job, limits);
}

}  // namespace tandem
