#include <numeric>

#include "absl/strings/str_cat.h"
#include "bench/gpu/parts.h"
#include "bench/gpu/probes.h"
#include "bench/gpu/random_experts.h"
#include "gpu_attention/cuda/arrange_inputs.h"
#include "gpu_attention/cuda/hot_experts.h"

namespace tandem::TANDEM_GPU {
namespace {

absl::Status Hot(BenchContext& bench, const ExpertPool& pool, int32_t tokens) {
  const ModelShape& s = bench.shape();
  const int32_t choices = tokens * s.top_k;
  // Another choice of experts in every call.
  const int copies =
      std::min(bench.Pick(64, 2), bench.ColdCopies(double(choices) * pool.layout.expert_bytes()));
  std::vector<int32_t> ids, slots(s.experts);
  double distinct = 0;
  for (int i = 0; i < copies; ++i) {
    const RandomRouting routing(s, tokens, i + 1);
    for (const int32_t id : routing.ids) ids.push_back(~id);
    distinct += static_cast<double>(routing.distinct) / copies;
  }
  std::iota(slots.begin(), slots.end(), 0);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer device_ids, bench.Upload(ids));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer slot_of, bench.Upload(slots));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer weights,
                          bench.Upload(std::vector<float>(choices, 0.125f)));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(int64_t{tokens} * s.hidden));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.Room<float>(int64_t{tokens} * s.hidden));
  TANDEM_ASSIGN_OR_RETURN(
      const DeviceBuffer workspace,
      bench.Room<uint8_t>(HotExpertsWorkspaceBytes(tokens, s.top_k, s.experts, pool.cuts)));
  const double operations = 6.0 * choices * s.hidden * s.expert_intermediate;
  return bench.Time(
      copies,
      [&](Stream& stream, int i) {
        HotExperts(stream, {.tokens = tokens,
                            .top_k = s.top_k,
                            .experts = s.experts,
                            .multiprocessors = bench.device().multiprocessors,
                            .cuts = pool.cuts,
                            .x = x.as<bf16>(),
                            .expert_ids = device_ids.part<int32_t>(int64_t{i} * choices, choices),
                            .weights = weights.as<float>(),
                            .slot_of = slot_of.as<int32_t>(),
                            .pool = pool.bytes.as<uint8_t>(),
                            .slot_stride = pool.layout.expert_bytes(),
                            .workspace = workspace.as<uint8_t>(),
                            .y = y.as<float>()});
      },
      {.what = "hot experts, INT4",
       .shape = absl::StrCat(tokens, " tokens, ", static_cast<int>(distinct + 0.5), " experts"),
       .bytes = distinct * pool.layout.expert_bytes(),
       .flops = operations,
       .goal_percent = tokens == 1 ? 60.0 : 0.0});
}

absl::Status Arrange(BenchContext& bench, int32_t tokens) {
  const ModelShape& s = bench.shape();
  const int64_t elems = int64_t{tokens} * s.hidden;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(elems));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer arranged, bench.Room<bf16>(elems));
  return bench.Time(2,
                    [&](Stream& stream, int) {
                      ArrangeInputs(stream, {tokens, s.hidden, x.as<bf16>(), arranged.as<bf16>()});
                    },
                    {.what = "arrange_inputs",
                     .shape = absl::StrCat(tokens, " tokens"),
                     .bytes = 4.0 * elems,
                     .note = "rows in L2"});
}

}  // namespace

absl::Status BenchExperts(BenchContext& bench) {
  TANDEM_ASSIGN_OR_RETURN(const ExpertPool pool, ExpertPool::Create(bench, bench.shape().experts));
  for (const int32_t tokens : bench.Pick<std::vector<int32_t>>({1, 8, 64}, {1, 3}))
    TANDEM_RETURN_IF_ERROR(Hot(bench, pool, tokens));
  for (const int32_t m : bench.Pick<std::vector<int32_t>>({32, 128, 512, 2048}, {3, 130}))
    TANDEM_RETURN_IF_ERROR(bench.Add(MeasureManyRows(bench, pool, m)));
  return Arrange(bench, bench.Pick(2048, 8));
}

}  // namespace tandem::TANDEM_GPU
