#include "bench/predictions.h"

namespace tandem {

double PredictRate(const PredictionInput& in, const Machine& machine, int32_t batch,
                   int64_t context) {
  const RoutingModel decode(in.shape, in.decode), prefill(in.shape, in.prefill);
  const CostModel costs(in.shape, machine, in.weight_bits, in.gpu, decode, prefill);
  if (batch == 0) {
    return static_cast<double>(context) /
           costs.Prefill(in.where, context, in.chunk, in.stream).total_s;
  }
  return batch / costs.Decode(in.where, batch, context).total_s;
}

double PredictRate(const PredictionInput& in, const std::vector<Machine>& machines, int32_t batch,
                   int64_t context) {
  double seconds = 0;
  for (const Machine& machine : machines) seconds += 1 / PredictRate(in, machine, batch, context);
  return seconds > 0 ? static_cast<double>(machines.size()) / seconds : 0;
}

}  // namespace tandem
