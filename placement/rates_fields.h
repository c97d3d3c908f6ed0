// The fields of rates and GPUs in JSON files (json_fields.h): the keys are the members' names.
#pragma once

#include <string>

#include "placement/json_fields.h"
#include "placement/machine.h"

namespace tandem {

inline constexpr double kMostGbPerS = 1e5, kMostTflops = 1e5, kMostUs = 1e7, kMostSeconds = 1e4,
                        kMostGops = 1e9, kMostGib = 1 << 20;
inline constexpr int64_t kMostWidth = 1 << 24;

// "specified", "calibrated", "guessed"; "" for unknown.
inline constexpr const char* kSourceNames[] = {"", "guessed", "specified", "calibrated"};

template <class Visitor>
void GpuFields(Visitor& v, GpuSpec& gpu) {
  v.Text("name", gpu.name);
  GibField(v, "memory_gib", gpu.memory_bytes, kMostGib);
  v.Number("hbm_gb_per_s", gpu.hbm_gb_per_s, 0, kMostGbPerS);
  v.Number("bf16_tflops", gpu.bf16_tflops, 0, kMostTflops);
  v.Number("int4_tflops", gpu.int4_tflops, 0, kMostTflops);
  v.Number("pcie_gb_per_s", gpu.pcie_gb_per_s, 0, kMostGbPerS);
  v.Number("pcie_beside_cpu_gb_per_s", gpu.pcie_beside_cpu_gb_per_s, 0, kMostGbPerS);
  v.Number("handoff_us", gpu.handoff_us, 0, kMostUs);
  v.Text("measured", gpu.measured);
  if (gpu.name.empty()) v.Fail("name", "the name of the GPU", "none");
}

// Points of a curve: at least one, the first of one row, rows ascending.
template <class Visitor, class Point>
void CheckPoints(Visitor& v, const std::vector<Point>& points) {
  int32_t before = 0;
  for (const Point& point : points) {
    if (point.rows <= before || (before == 0 && point.rows != 1))
      v.Fail("points", "rows that begin with 1 and ascend",
             std::to_string(point.rows) + " behind " + std::to_string(before));
    before = point.rows;
  }
  if (points.empty()) v.Fail("points", "a point or more", "none");
}

template <class Visitor>
void ExpertCurveFields(Visitor& v, ExpertCurve& curve) {
  v.Whole("hidden", curve.hidden, 1, kMostWidth);
  v.Whole("intermediate", curve.intermediate, 1, kMostWidth);
  v.Number("call_s", curve.call_s, 0, kMostSeconds);
  v.Objects("points", curve.points, [](auto& p, ExpertCurve::Point& point) {
    p.Whole("rows", point.rows, 1, kMostWidth);
    p.Number("seconds", point.seconds, 0, kMostSeconds);
  });
  CheckPoints(v, curve.points);
}

template <class Visitor>
void DenseCurveFields(Visitor& v, DenseCurve& curve) {
  DenseCurve::Key& key = curve.key;
  v.Whole("hidden", key.hidden, 1, kMostWidth);
  v.Whole("heads", key.heads, 1, kMostWidth);
  v.Whole("q_lora_rank", key.q_lora_rank, 0, kMostWidth);
  v.Whole("kv_lora_rank", key.kv_lora_rank, 0, kMostWidth);
  v.Whole("qk_nope_dim", key.qk_nope_dim, 0, kMostWidth);
  v.Whole("qk_rope_dim", key.qk_rope_dim, 0, kMostWidth);
  v.Whole("v_dim", key.v_dim, 0, kMostWidth);
  v.Whole("dense_intermediate", key.dense_intermediate, 0, kMostWidth);
  v.Whole("shared_intermediate", key.shared_intermediate, 0, kMostWidth);
  v.Whole("experts", key.experts, 0, kMostWidth);
  v.Whole("vocab", key.vocab, 0, kMostWidth);
  v.Whole("weight_bits", key.weight_bits, 1, 32);
  v.Number("decode_kv_s", curve.decode_kv_s, 0, kMostSeconds);
  v.Number("decode_one_kv_s", curve.decode_one_kv_s, 0, kMostSeconds);
  v.Number("prefill_kv_s", curve.prefill_kv_s, 0, kMostSeconds);
  v.Objects("points", curve.points, [](auto& p, DenseCurve::Point& point) {
    p.Whole("rows", point.rows, 1, kMostWidth);
    p.Number("attention_s", point.attention_s, 0, kMostSeconds);
    p.Number("prefill_attention_s", point.prefill_attention_s, 0, kMostSeconds);
    p.Number("dense_mlp_s", point.dense_mlp_s, 0, kMostSeconds);
    p.Number("moe_s", point.moe_s, 0, kMostSeconds);
    p.Number("head_s", point.head_s, 0, kMostSeconds);
  });
  CheckPoints(v, curve.points);
}

template <class Visitor>
void RatesFields(Visitor& v, MachineRates& rates) {
  std::string source = kSourceNames[static_cast<int>(rates.source)];
  v.Text("source", source);
  if constexpr (Visitor::kReads) {
    int index = 3;
    while (index > 0 && source != kSourceNames[index]) --index;
    if (index == 0 && !source.empty())
      v.Fail("source", "\"specified\", \"guessed\" or \"calibrated\"", "\"" + source + "\"");
    rates.source = static_cast<MachineRates::Source>(index);
  }
  v.Text("when", rates.when);
  v.Number("expert_gops", rates.expert_gops, 0, kMostGops);
  v.Number("dense_gflops", rates.dense_gflops, 0, kMostGops);
  v.Number("dispatch_us", rates.dispatch_us, 0, kMostUs);
  v.Number("step_us", rates.step_us, 0, kMostUs);
  v.Number("row_us", rates.row_us, 0, kMostUs);
  v.Number("cross_node_gb_per_s", rates.cross_node_gb_per_s, 0, kMostGbPerS);
  v.Number("disk_gb_per_s", rates.disk_gb_per_s, 0, kMostGbPerS);
  v.Objects("experts", rates.experts,
            [](auto& e, ExpertCurve& curve) { ExpertCurveFields(e, curve); });
  v.Objects("dense", rates.dense, [](auto& d, DenseCurve& curve) { DenseCurveFields(d, curve); });
}

}  // namespace tandem
