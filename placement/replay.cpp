#include "placement/replay.h"

namespace tandem {
namespace {

// Adds the hits of a step's counted rows to `counts`; is_hot(expert).
template <class IsHot>
void CountHits(const TraceRows& rows, int64_t step, const uint16_t* ids, int64_t row_stride,
               int32_t top_k, const IsHot& is_hot, std::array<HitCount, kPhases>& counts) {
  for (int64_t row = rows.step_begin[step]; row < rows.step_begin[step + 1]; ++row) {
    if (rows.counted[row]) {
      HitCount& count = counts[static_cast<int>(rows.rows[row].phase)];
      count.pairs += top_k;
      for (int32_t k = 0; k < top_k; ++k) count.hits += is_hot(ids[k]);
    }
    ids += row_stride;
  }
}

// The adapter decides for all layers together.
class EmaReplay {
 public:
  EmaReplay(const RoutingTrace& trace, const TraceRows& rows,
            const std::vector<std::vector<ExpertId>>& start, const AdapterOptions& options)
      : trace_(trace),
        rows_(rows),
        adapter_(trace.model, start, options),
        layers_(trace.model.moe_layers()) {}

  std::vector<LayerResult> Run() {
    for (int64_t step = 0; step < rows_.steps(); ++step) {
      Count(step);
      Observe(step);
      if (!adapter_.due()) continue;
      for (const ExpertSwap& swap : adapter_.Propose()) {
        adapter_.Done(swap);
        LayerResult& layer = layers_[swap.layer.value - trace_.model.dense_layers];
        ++layer.moves;
        ++layer.decode_moves;  // its rounds follow decoded tokens
      }
    }
    return layers_;
  }

 private:
  int64_t row_ids() const { return std::ssize(layers_) * trace_.model.top_k; }

  void Count(int64_t step) {
    const uint16_t* ids = trace_.steps[step].ids.data();
    for (size_t l = 0; l < layers_.size(); ++l) {
      const LayerId layer{static_cast<int32_t>(trace_.model.dense_layers + l)};
      CountHits(
          rows_, step, ids + l * trace_.model.top_k, row_ids(), trace_.model.top_k,
          [&](uint16_t expert) { return adapter_.IsHot(layer, {expert}); }, layers_[l].counts);
    }
  }

  void Observe(int64_t step) {
    const TraceStep& of = trace_.steps[step];
    const auto n = std::ssize(of.rows);
    const int64_t top_k = trace_.model.top_k;
    routed_.clear();
    bool decodes = false;
    for (const TraceRow& row : of.rows) {
      routed_.push_back({row.sequence, "", row.phase});
      decodes |= row.phase == Phase::kDecode;
    }
    if (!decodes) return;  // the adapter would not look at them either
    adapter_.BeginStep(routed_);
    ids_.assign(of.ids.begin(), of.ids.end());
    for (int64_t l = 0; l < std::ssize(layers_); ++l) {
      adapter_.Routed({static_cast<int32_t>(trace_.model.dense_layers + l)}, 0,
                      View<const int32_t, 2>(ids_.data() + l * top_k, {n, top_k}, {row_ids(), 1}),
                      {});
    }
    adapter_.EndStep();
  }

  const RoutingTrace& trace_;
  const TraceRows& rows_;
  ExpertAdapter adapter_;
  std::vector<LayerResult> layers_;
  std::vector<RoutedRow> routed_;
  std::vector<int32_t> ids_;
};

}  // namespace

LayerResult ReplayLayer(const TraceRows& rows, const LayerTrace& layer, HotPolicy policy,
                        const std::vector<ExpertId>& start) {
  LayerResult result;
  LayerHotSet hot(layer.experts, start);
  const auto decides = MakeLayerPolicy(policy, rows, layer, start);
  for (int64_t step = 0; step < rows.steps(); ++step) {
    const int64_t moves_before = hot.moves();
    decides->BeforeStep(step, hot);
    CountHits(
        rows, step, &layer.ids[rows.step_begin[step] * layer.top_k], layer.top_k, layer.top_k,
        [&](uint16_t expert) { return hot.has(expert); }, result.counts);
    decides->AfterStep(step, hot);
    if (rows.decodes[step]) result.decode_moves += hot.moves() - moves_before;
  }
  result.moves = hot.moves();
  return result;
}

std::vector<LayerResult> ReplayAdapter(const RoutingTrace& trace, const TraceRows& rows,
                                       const std::vector<std::vector<ExpertId>>& start,
                                       const AdapterOptions& options) {
  return EmaReplay(trace, rows, start, options).Run();
}

}  // namespace tandem
