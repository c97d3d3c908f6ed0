#include "tools/batch_forecast.h"

#include "core/log.h"
#include "gpu_attention/step_batch.h"
#include "placement/cost_model.h"
#include "service/batch/batch_order.h"

namespace tandem {
std::optional<BatchPrediction> ForecastBatch(const BatchSize& size, const StartPlan& start,
                                             const EngineOptions& options, const Engine& engine) {
  const ModelShape& shape = engine.config().shape;
  if (start.plan == nullptr || size.requests == 0) return std::nullopt;
  const int weight_bits = options.dense_dtype == DenseDType::kInt8 ? 8 : 16;
  if (!CheckRates(start.machine, shape, weight_bits, start.plan->gpu).ok()) return std::nullopt;
  const auto requests = static_cast<double>(size.requests);
  const int64_t answers = size.max_tokens + size.unbounded * kUnsaidTokens;
  if (size.prompt_tokens == 0 || answers == 0) return std::nullopt;  // nothing is generated
  const auto chosen =
      ChooseBatchSize(shape, start.machine, *start.plan, start.decode, start.prefill,
                      {.requests = size.requests,
                       .prompt_tokens = static_cast<double>(size.prompt_tokens) / requests,
                       .answer_tokens = static_cast<double>(answers) / requests},
                      {.kv_tokens = engine.stats().kv_pages_total * kPageTokens,
                       .max_sequences = options.max_sequences,
                       .chunk_tokens = options.max_step_tokens});
  if (chosen.ok()) return *chosen;
  LogWarning("how long the batch will take cannot be told: {}",
             std::string(chosen.status().message()));
  return std::nullopt;
}

}  // namespace tandem
