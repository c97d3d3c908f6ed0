#include "tools/batch_forecast.h"

#include <algorithm>

#include "bench/predictions.h"

namespace tandem {
namespace {

constexpr int64_t kUnsaidTokens = 512;  // as batch_order.h has it

}  // namespace

double ForecastSeconds(const BatchSize& size, const StartPlan& start, const EngineOptions& engine,
                       const ModelShape& shape, int32_t in_flight) {
  if (start.plan == nullptr || size.requests == 0) return 0;
  const bool gpu = start.plan->gpu;
  PredictionInput input = {.shape = shape,
                           .weight_bits = engine.dense_dtype == DenseDType::kInt8 ? 8 : 16,
                           .gpu = gpu,
                           .where = ResidencesOf(*start.plan),
                           .chunk = engine.max_step_tokens,
                           .stream = gpu && engine.device.stream != StreamExperts::kNever,
                           .decode = start.decode,
                           .prefill = start.prefill};
  if (!CheckRates(start.machine, shape, input.weight_bits, gpu).ok()) return 0;
  const int64_t answers = size.max_tokens + size.unbounded * kUnsaidTokens;
  const int64_t prompt = std::max<int64_t>(1, size.prompt_tokens / size.requests);
  const auto batch = static_cast<int32_t>(
      std::min<int64_t>({size.requests, in_flight, static_cast<int64_t>(engine.max_sequences)}));
  const double prefill = PredictRate(input, start.machine, 0, prompt);
  const double decode =
      PredictRate(input, start.machine, batch, prompt + answers / size.requests / 2);
  if (prefill <= 0 || decode <= 0) return 0;
  return static_cast<double>(size.prompt_tokens) / prefill + static_cast<double>(answers) / decode;
}

}  // namespace tandem
