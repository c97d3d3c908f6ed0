#include "placement/layer_trace.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "placement/expert_profile.h"

namespace tandem {

TraceRows FlattenRows(const RoutingTrace& trace, bool held_out_only) {
  TraceRows flat;
  flat.step_begin.push_back(0);
  std::unordered_set<uint32_t> decoding;
  for (const TraceStep& step : trace.steps) {
    flat.joined.push_back(0);
    flat.decodes.push_back(0);
    for (const TraceRow& row : step.rows) {
      flat.rows.push_back(row);
      flat.counted.push_back(!held_out_only || row.sequence % kHeldOutEvery == kHeldOutEvery - 1);
      if (row.phase != Phase::kDecode) continue;
      ++flat.decoded;
      flat.decodes.back() = 1;
      if (decoding.insert(row.sequence).second) flat.joined.back() = 1;
    }
    flat.step_begin.push_back(std::ssize(flat.rows));
  }
  return flat;
}

namespace {

// The different experts of rows [begin, end), the last used first, and how many counted pairs each
// has (written to `pairs`, [experts], which is zero for all others).
void ListUses(const TraceRows& rows, LayerTrace& layer, int64_t begin, int64_t end,
              std::vector<uint8_t>& seen, std::vector<int64_t>& pairs) {
  const auto first = std::ssize(layer.uses);
  for (int64_t row = end - 1; row >= begin; --row) {
    for (int32_t k = layer.top_k - 1; k >= 0; --k) {
      const uint16_t expert = layer.ids[row * layer.top_k + k];
      pairs[expert] += rows.counted[row];
      if (seen[expert]) continue;
      seen[expert] = 1;
      layer.uses.push_back({.expert = expert});
    }
  }
  for (auto i = first; i < std::ssize(layer.uses); ++i) seen[layer.uses[i].expert] = 0;
}

// Where each expert is used next; `pairs` [uses] as counted by ListUses().
void LinkUses(const std::vector<int64_t>& pairs, LayerTrace& layer) {
  layer.first.resize(layer.experts);
  for (int32_t e = 0; e < layer.experts; ++e) layer.first[e].expert = static_cast<uint16_t>(e);
  for (int64_t step = std::ssize(layer.use_begin) - 2; step >= 0; --step) {
    for (int64_t i = layer.use_begin[step]; i < layer.use_begin[step + 1]; ++i) {
      ExpertUse& next = layer.first[layer.uses[i].expert];
      layer.uses[i] = next;
      next.next_step = static_cast<uint32_t>(step);
      next.next_pairs = static_cast<uint16_t>(std::min<int64_t>(pairs[i], UINT16_MAX));
    }
  }
}

}  // namespace

LayerTrace CutLayer(const RoutingTrace& trace, const TraceRows& rows, int32_t moe_layer) {
  const int32_t top_k = trace.model.top_k;
  const int64_t row_ids = int64_t{trace.model.moe_layers()} * top_k;
  LayerTrace layer{.experts = trace.model.experts, .top_k = top_k};
  layer.ids.reserve(rows.rows.size() * top_k);
  for (const TraceStep& step : trace.steps) {
    const uint16_t* ids = step.ids.data() + int64_t{moe_layer} * top_k;
    for (size_t row = 0; row < step.rows.size(); ++row, ids += row_ids)
      layer.ids.insert(layer.ids.end(), ids, ids + top_k);
  }
  std::vector<uint8_t> seen(layer.experts);
  std::vector<int64_t> of_expert(layer.experts), pairs;
  layer.use_begin.push_back(0);
  for (int64_t step = 0; step < rows.steps(); ++step) {
    ListUses(rows, layer, rows.step_begin[step], rows.step_begin[step + 1], seen, of_expert);
    for (auto i = layer.use_begin.back(); i < std::ssize(layer.uses); ++i)
      pairs.push_back(std::exchange(of_expert[layer.uses[i].expert], 0));
    layer.use_begin.push_back(std::ssize(layer.uses));
  }
  LinkUses(pairs, layer);
  return layer;
}

}  // namespace tandem
