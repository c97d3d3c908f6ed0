// A plan as JSON.
#include <nlohmann/json.hpp>

#include "placement/footprint.h"
#include "placement/plan_report.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

Json ModelJson(const ModelIdentity& m) {
  return {{"architecture", m.architecture},
          {"layers", m.layers},
          {"dense_layers", m.dense_layers},
          {"hidden", m.hidden},
          {"experts", m.experts},
          {"top_k", m.top_k},
          {"expert_intermediate", m.expert_intermediate},
          {"router_hash", m.router_hash}};
}

Json FootprintJson(const ModelShape& shape) {
  const Footprint f = ComputeFootprint(shape, kBf16WeightBytes);
  return {{"expert_bytes", f.expert_bytes},
          {"routed_bytes", f.routed_bytes},
          {"dense_bytes", f.dense_bytes},
          {"embedding_bytes", f.embedding_bytes},
          {"kv_bytes_per_token", f.kv_bytes_per_token},
          {"routed_read_per_token", f.routed_read_per_token}};
}

Json GoalsJson(const PlanGoals& g) {
  return {{"context", g.context},
          {"concurrency", g.concurrency},
          {"max_step_tokens", g.max_step_tokens},
          {"weight_bits", g.weight_bits},
          {"vram_reserve_bytes", g.vram_reserve_bytes},
          {"ram_reserve_bytes", g.ram_reserve_bytes},
          {"stream_buffer_bytes", g.stream_buffer_bytes},
          {"objective", g.objective == PlanObjective::kLatency ? "latency" : "throughput"},
          {"use_gpu", g.use_gpu}};
}

Json TimeJson(const StepTime& t) {
  return {{"attention_s", t.attention_s},
          {"shared_s", t.shared_s},
          {"cpu_experts_s", t.cpu_experts_s},
          {"disk_s", t.disk_s},
          {"hot_experts_s", t.hot_experts_s},
          {"pcie_s", t.pcie_s},
          {"handoff_s", t.handoff_s},
          {"head_s", t.head_s},
          {"other_s", t.other_s},
          {"total_s", t.total_s},
          {"limit", t.limit}};
}

Json ExpertsJson(const std::vector<std::vector<ExpertId>>& layers) {
  Json json = Json::array();
  for (const auto& layer : layers) {
    Json ids = Json::array();
    for (const ExpertId expert : layer) ids.push_back(expert.value);
    json.push_back(std::move(ids));
  }
  return json;
}

Json NumaJson(const Plan& plan) {
  constexpr const char* kNames[] = {"sharded", "whole", "replicated"};
  Json json = Json::array();
  for (const auto& layer : plan.numa) {
    Json homes = Json::array();
    for (const NumaChoice& choice : layer)
      homes.push_back({{"home", kNames[static_cast<int>(choice.home)]}, {"node", choice.node}});
    json.push_back(std::move(homes));
  }
  return json;
}

Json RatesJson(const Plan& plan) {
  Json json = Json::array();
  for (const RatePoint& p : plan.rates_at)
    json.push_back({{"batch", p.batch},
                    {"context", p.context},
                    {"decode_tok_per_s", p.decode_tok_per_s},
                    {"prefill_tok_per_s", p.prefill_tok_per_s},
                    {"decode", TimeJson(p.decode)},
                    {"prefill", TimeJson(p.prefill)}});
  return json;
}

Json ToJson(const PlanReport& r) {
  const Plan& plan = r.plan;
  const Roofs roofs = RoofsOf(r.shape, r.machine);
  Json budget = Json::array(), upgrades = Json::array();
  for (const BudgetLine& line : plan.budget)
    budget.push_back(
        {{"place", line.place}, {"what", line.what}, {"bytes", line.bytes}, {"why", line.why}});
  for (const Upgrade& u : r.upgrades)
    upgrades.push_back({{"what", u.what},
                        {"decode_gain", u.decode_gain},
                        {"prefill_gain", u.prefill_gain},
                        {"note", u.note}});
  return {{"model", ModelJson(plan.model)},
          {"footprint", FootprintJson(r.shape)},
          {"machine", plan.machine},
          {"machine_id", plan.machine_id},
          {"rates", plan.rates},
          {"goals", GoalsJson(plan.goals)},
          {"profile", plan.profile},
          {"gpu", plan.gpu},
          {"kv_tokens", plan.kv_tokens},
          {"budget", std::move(budget)},
          {"hot_experts", plan.hot_experts()},
          {"hot_experts_leave_ram", plan.hot_experts_leave_ram},
          {"disk_experts", plan.disk_experts()},
          {"decode_hit_rate", plan.decode_hit_rate},
          {"prefill_hit_rate", plan.prefill_hit_rate},
          {"hit_rate_held_out", plan.hit_rate_held_out},
          {"prefill",
           {{"stream", plan.prefill.stream},
            {"break_even_tokens", plan.prefill.break_even_tokens},
            {"chunk_tokens", plan.prefill.chunk_tokens}}},
          {"predicted", RatesJson(plan)},
          {"roofs",
           {{"ram_paper_tok_per_s", roofs.ram_paper},
            {"ram_read_tok_per_s", roofs.ram_read},
            {"streamed_pass_s", roofs.streamed_pass_s}}},
          {"upgrades", std::move(upgrades)},
          {"notes", plan.notes},
          {"hot", ExpertsJson(plan.hot)},
          {"on_disk", ExpertsJson(plan.on_disk)},
          {"numa", NumaJson(plan)}};
}

}  // namespace

std::string PlanJson(const PlanReport& report) { return ToJson(report).dump(2); }

std::string ComparisonJson(std::span<const PlanReport> reports) {
  Json json = Json::array();
  for (const PlanReport& report : reports) json.push_back(ToJson(report));
  return json.dump(2);
}

}  // namespace tandem
