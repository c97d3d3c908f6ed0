// Whether a plan agrees with itself.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "placement/plan_file.h"

namespace tandem {
namespace {

constexpr int64_t kMostExperts = int64_t{1} << 24;  // of a model; more is no model

class Checker {
 public:
  Checker(const std::string& what, const Plan& plan) : what_(what), plan_(plan) {}

  absl::Status Check() {
    TANDEM_RETURN_IF_ERROR(CheckModel());
    TANDEM_RETURN_IF_ERROR(CheckNumbers());
    TANDEM_RETURN_IF_ERROR(CheckLayers("hot experts", plan_.hot.size()));
    TANDEM_RETURN_IF_ERROR(CheckLayers("experts on the disk", plan_.on_disk.size()));
    TANDEM_RETURN_IF_ERROR(CheckLayers("NUMA homes", plan_.numa.size()));
    TANDEM_RETURN_IF_ERROR(CheckExperts());
    return CheckHomes();
  }

 private:
  template <class... T>
  absl::Status Bad(const T&... parts) const {
    return absl::DataLossError(absl::StrCat(what_, ": the plan contradicts itself: ", parts...));
  }

  absl::Status CheckModel() const {
    const ModelIdentity& m = plan_.model;
    if (m.layers < 1 || m.dense_layers < 0 || m.dense_layers > m.layers)
      return Bad(m.layers, " layers, ", m.dense_layers, " of them dense");
    if (m.experts < 0 || m.top_k < 0 || m.top_k > m.experts ||
        int64_t{m.layers} * m.experts > kMostExperts)
      return Bad(m.experts, " experts of which a token uses ", m.top_k);
    return absl::OkStatus();
  }

  absl::Status CheckNumbers() const {
    if (plan_.kv_tokens < 0) return Bad("a cache of ", plan_.kv_tokens, " tokens");
    if (plan_.prefill.chunk_tokens < 1)
      return Bad("steps of ", plan_.prefill.chunk_tokens, " prompt tokens");
    if (plan_.prefill.break_even_tokens < 0)
      return Bad("a break-even of ", plan_.prefill.break_even_tokens, " tokens");
    const PlanGoals& g = plan_.goals;
    if (g.context < 1 || g.concurrency < 1 || g.max_step_tokens < 1 || g.vram_reserve_bytes < 0 ||
        g.ram_reserve_bytes < 0 || g.stream_buffer_bytes < 0 ||
        (g.weight_bits != 8 && g.weight_bits != 16))
      return Bad("goals that make no sense");
    for (const BudgetLine& line : plan_.budget)
      if (line.bytes < 0) return Bad(line.what, " of ", line.bytes, " bytes");
    for (const double rate : {plan_.decode_hit_rate, plan_.prefill_hit_rate})
      if (!(rate >= 0 && rate <= 1)) return Bad("a hit rate of ", rate);
    for (const RatePoint& point : plan_.rates_at) {
      if (point.batch < 1 || point.context < 0 || !(point.decode_tok_per_s >= 0) ||
          !(point.prefill_tok_per_s >= 0))
        return Bad("a rate at batch ", point.batch, ", context ", point.context);
    }
    if (!plan_.gpu && (plan_.hot_experts() > 0 || plan_.prefill.stream))
      return Bad("hot experts or streaming without a GPU");
    return absl::OkStatus();
  }

  absl::Status CheckLayers(const char* list, size_t layers) const {
    if (layers == 0 || layers == static_cast<size_t>(plan_.model.layers)) return absl::OkStatus();
    return Bad(list, " of ", layers, " layers, the model has ", plan_.model.layers);
  }

  // Every expert at most once on the GPU or the disk, none of them in a dense layer.
  absl::Status CheckExperts() const {
    std::vector<bool> seen(static_cast<size_t>(plan_.model.layers) * plan_.model.experts, false);
    for (const auto* list : {&plan_.hot, &plan_.on_disk}) {
      for (size_t layer = 0; layer < list->size(); ++layer) {
        for (const ExpertId expert : (*list)[layer]) {
          const int32_t id = expert.value;
          if (id < 0 || id >= plan_.model.experts ||
              layer < static_cast<size_t>(plan_.model.dense_layers))
            return Bad("layer ", layer, " has no expert ", id);
          const size_t at = layer * plan_.model.experts + id;
          if (seen[at]) return Bad("expert ", id, " of layer ", layer, " is named twice");
          seen[at] = true;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckHomes() const {
    constexpr int32_t kMostNodes = 1024;
    for (size_t layer = 0; layer < plan_.numa.size(); ++layer) {
      const bool dense = layer < static_cast<size_t>(plan_.model.dense_layers);
      const auto want = static_cast<size_t>(dense ? 0 : plan_.model.experts);
      if (plan_.numa[layer].size() != want)
        return Bad("layer ", layer, " has ", plan_.numa[layer].size(), " NUMA homes for ", want,
                   " experts");
      for (const NumaChoice& choice : plan_.numa[layer]) {
        if (choice.home > NumaHome::kReplicated || choice.node < 0 || choice.node >= kMostNodes)
          return Bad("layer ", layer, " names NUMA home ", static_cast<int>(choice.home),
                     " on node ", choice.node);
      }
    }
    return absl::OkStatus();
  }

  const std::string& what_;
  const Plan& plan_;
};

}  // namespace

absl::Status CheckPlan(const std::string& what, const Plan& plan) {
  return Checker(what, plan).Check();
}

}  // namespace tandem
