#include "placement/plan_file.h"

#include "absl/strings/str_cat.h"
#include "placement/identity_proto.h"
#include "placement/plan.pb.h"
#include "placement/sealed_file.h"

namespace tandem {
namespace {

constexpr SealedKind kKind = {"plan", 1};

void ToProto(const PlanGoals& from, placement::PlanGoals& to) {
  to.set_context(from.context);
  to.set_concurrency(from.concurrency);
  to.set_max_step_tokens(from.max_step_tokens);
  to.set_weight_bits(from.weight_bits);
  to.set_vram_reserve_bytes(from.vram_reserve_bytes);
  to.set_ram_reserve_bytes(from.ram_reserve_bytes);
  to.set_stream_buffer_bytes(from.stream_buffer_bytes);
  to.set_throughput(from.objective == PlanObjective::kThroughput);
  to.set_use_gpu(from.use_gpu);
}

PlanGoals FromProto(const placement::PlanGoals& from) {
  return {.context = from.context(),
          .concurrency = from.concurrency(),
          .max_step_tokens = from.max_step_tokens(),
          .weight_bits = from.weight_bits(),
          .vram_reserve_bytes = from.vram_reserve_bytes(),
          .ram_reserve_bytes = from.ram_reserve_bytes(),
          .stream_buffer_bytes = from.stream_buffer_bytes(),
          .objective = from.throughput() ? PlanObjective::kThroughput : PlanObjective::kLatency,
          .use_gpu = from.use_gpu()};
}

void ToProto(const StepTime& from, placement::StepTime& to) {
  to.set_attention_s(from.attention_s);
  to.set_shared_s(from.shared_s);
  to.set_cpu_experts_s(from.cpu_experts_s);
  to.set_disk_s(from.disk_s);
  to.set_hot_experts_s(from.hot_experts_s);
  to.set_pcie_s(from.pcie_s);
  to.set_handoff_s(from.handoff_s);
  to.set_head_s(from.head_s);
  to.set_other_s(from.other_s);
  to.set_total_s(from.total_s);
  to.set_limit(from.limit);
}

StepTime FromProto(const placement::StepTime& from) {
  return {.attention_s = from.attention_s(),
          .shared_s = from.shared_s(),
          .cpu_experts_s = from.cpu_experts_s(),
          .disk_s = from.disk_s(),
          .hot_experts_s = from.hot_experts_s(),
          .pcie_s = from.pcie_s(),
          .handoff_s = from.handoff_s(),
          .head_s = from.head_s(),
          .other_s = from.other_s(),
          .total_s = from.total_s(),
          .limit = from.limit()};
}

using ProtoLists = google::protobuf::RepeatedPtrField<placement::ExpertList>;

void ToProto(const std::vector<std::vector<ExpertId>>& from, ProtoLists& to) {
  for (const auto& layer : from) {
    placement::ExpertList& list = *to.Add();
    for (const ExpertId expert : layer) list.add_expert(expert.value);
  }
}

std::vector<std::vector<ExpertId>> FromProto(const ProtoLists& from) {
  std::vector<std::vector<ExpertId>> layers;
  for (const placement::ExpertList& list : from) {
    layers.emplace_back();
    for (const int32_t id : list.expert()) layers.back().push_back({id});
  }
  return layers;
}

void NumaToProto(const Plan& plan, placement::Plan& to) {
  for (const auto& layer : plan.numa) {
    placement::NumaLayer& homes = *to.add_numa();
    for (const NumaChoice& choice : layer) {
      homes.add_home(static_cast<int32_t>(choice.home));
      homes.add_node(choice.node);
    }
  }
}

// Homes that do not exist become one that CheckPlan() refuses.
void NumaFromProto(const placement::Plan& from, Plan& plan) {
  constexpr auto kUnknown = static_cast<NumaHome>(255);
  for (const placement::NumaLayer& homes : from.numa()) {
    auto& layer = plan.numa.emplace_back();
    for (int i = 0; i < homes.home_size(); ++i) {
      const int32_t home = homes.home(i);
      layer.push_back({home >= 0 && home <= 2 ? static_cast<NumaHome>(home) : kUnknown,
                       i < homes.node_size() ? homes.node(i) : -1});
    }
  }
}

void RatesToProto(const Plan& plan, placement::Plan& to) {
  for (const RatePoint& point : plan.rates_at) {
    placement::RatePoint& out = *to.add_rates_at();
    out.set_batch(point.batch);
    out.set_context(point.context);
    out.set_decode_tok_per_s(point.decode_tok_per_s);
    out.set_prefill_tok_per_s(point.prefill_tok_per_s);
    ToProto(point.decode, *out.mutable_decode());
    ToProto(point.prefill, *out.mutable_prefill());
  }
}

placement::Plan ToProto(const Plan& plan) {
  placement::Plan to;
  tandem::ToProto(plan.model, *to.mutable_model());
  to.set_machine(plan.machine);
  to.set_machine_id(plan.machine_id);
  to.set_rates(plan.rates);
  ToProto(plan.goals, *to.mutable_goals());
  to.set_gpu(plan.gpu);
  to.set_kv_tokens(plan.kv_tokens);
  ToProto(plan.hot, *to.mutable_hot());
  to.set_hot_experts_leave_ram(plan.hot_experts_leave_ram);
  NumaToProto(plan, to);
  ToProto(plan.on_disk, *to.mutable_on_disk());
  to.set_stream(plan.prefill.stream);
  to.set_break_even_tokens(plan.prefill.break_even_tokens);
  to.set_chunk_tokens(plan.prefill.chunk_tokens);
  for (const BudgetLine& line : plan.budget) {
    placement::BudgetLine& out = *to.add_budget();
    out.set_place(line.place);
    out.set_what(line.what);
    out.set_bytes(line.bytes);
    out.set_why(line.why);
  }
  to.set_decode_hit_rate(plan.decode_hit_rate);
  to.set_prefill_hit_rate(plan.prefill_hit_rate);
  to.set_hit_rate_held_out(plan.hit_rate_held_out);
  to.set_profile(plan.profile);
  RatesToProto(plan, to);
  for (const std::string& note : plan.notes) to.add_notes(note);
  return to;
}

Plan FromProto(const placement::Plan& from) {
  Plan plan;
  plan.model = tandem::FromProto(from.model());
  plan.machine = from.machine();
  plan.machine_id = from.machine_id();
  plan.rates = from.rates();
  plan.goals = FromProto(from.goals());
  plan.gpu = from.gpu();
  plan.kv_tokens = from.kv_tokens();
  plan.hot = FromProto(from.hot());
  plan.hot_experts_leave_ram = from.hot_experts_leave_ram();
  NumaFromProto(from, plan);
  plan.on_disk = FromProto(from.on_disk());
  plan.prefill = {from.stream(), from.break_even_tokens(), from.chunk_tokens()};
  for (const placement::BudgetLine& line : from.budget())
    plan.budget.push_back({line.place(), line.what(), line.bytes(), line.why()});
  plan.decode_hit_rate = from.decode_hit_rate();
  plan.prefill_hit_rate = from.prefill_hit_rate();
  plan.hit_rate_held_out = from.hit_rate_held_out();
  plan.profile = from.profile();
  for (const placement::RatePoint& point : from.rates_at())
    plan.rates_at.push_back({point.batch(), point.context(), point.decode_tok_per_s(),
                             point.prefill_tok_per_s(), FromProto(point.decode()),
                             FromProto(point.prefill())});
  plan.notes.assign(from.notes().begin(), from.notes().end());
  return plan;
}

}  // namespace

absl::Status WritePlan(const std::string& path, const Plan& plan) {
  return WriteSealedFile(path, kKind, ToProto(plan).SerializeAsString());
}

absl::StatusOr<Plan> ReadPlan(const std::string& path) {
  TANDEM_ASSIGN_OR_RETURN(const std::string payload, ReadSealedFile(path, kKind));
  placement::Plan proto;
  if (!proto.ParseFromString(payload))
    return absl::DataLossError(
        absl::StrCat(path, ": the plan is damaged (not as plan.proto says)"));
  Plan plan = FromProto(proto);
  TANDEM_RETURN_IF_ERROR(CheckPlan(path, plan));
  return plan;
}

}  // namespace tandem
