// tandem plan: what lies where on a machine, why, and how fast it will be. Wants no weights: a
// config.json is enough, and the machine may be one that is only described.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/identify_model.h"
#include "engine/checkpoint/model_config.h"
#include "engine/machine_here.h"
#include "placement/machine_file.h"
#include "placement/plan_file.h"
#include "placement/plan_report.h"
#include "placement/planner.h"
#include "placement/profile_file.h"
#include "tools/command.h"

namespace tandem {
namespace {

constexpr double kGib = 1 << 30;

struct Options {
  std::string model, out;
  std::vector<std::string> machines, profiles;
  PlanGoals goals;
  int64_t context = 0;  // 0: the goals' default, or what the model allows
  double vram_reserve_gib = 2, ram_reserve_gib = 4, stream_buffer_gib = 1;
  std::string dense_dtype = "bf16";
  bool no_gpu = false, throughput = false;
  bool json = false, compare = false, list_machines = false;
};

struct PlannedModel {
  ModelShape shape;
  ModelIdentity identity;
};

bool HasWeights(const std::filesystem::path& dir) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ignored))
    if (entry.path().extension() == ".safetensors") return true;
  return false;
}

// A checkpoint, or a config alone: then the identity has no hash of the router.
absl::StatusOr<PlannedModel> ReadModel(const std::string& model) {
  std::filesystem::path dir = model;
  if (dir.filename() == "config.json") dir = dir.has_parent_path() ? dir.parent_path() : ".";
  TANDEM_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(dir.string()));
  PlannedModel planned = {config.shape, IdentityOf(config.shape, config.model_type)};
  if (!HasWeights(dir)) return planned;
  TANDEM_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(dir.string()));
  TANDEM_ASSIGN_OR_RETURN(planned.identity, IdentifyModel(*checkpoint));
  return planned;
}

absl::StatusOr<std::vector<Machine>> Machines(const Options& options) {
  std::vector<Machine> machines;
  for (const std::string& name : options.machines) {
    TANDEM_ASSIGN_OR_RETURN(Machine machine, LoadMachine(name));
    machines.push_back(std::move(machine));
  }
  if (machines.empty()) machines.push_back(MachineHere());
  return machines;
}

absl::StatusOr<std::vector<std::optional<ExpertProfile>>> Profiles(const Options& options) {
  std::vector<std::optional<ExpertProfile>> profiles;
  for (const std::string& path : options.profiles) {
    TANDEM_ASSIGN_OR_RETURN(ExpertProfile profile, ReadProfile(path));
    profiles.push_back(std::move(profile));
  }
  if (profiles.empty()) profiles.emplace_back();
  return profiles;
}

PlanGoals GoalsOf(const Options& options, const ModelShape& shape) {
  PlanGoals goals = options.goals;
  goals.context = options.context > 0       ? options.context
                  : shape.max_positions > 0 ? std::min(goals.context, shape.max_positions)
                                            : goals.context;
  goals.vram_reserve_bytes = static_cast<int64_t>(options.vram_reserve_gib * kGib);
  goals.ram_reserve_bytes = static_cast<int64_t>(options.ram_reserve_gib * kGib);
  goals.stream_buffer_bytes = static_cast<int64_t>(options.stream_buffer_gib * kGib);
  goals.weight_bits = options.dense_dtype == "int8" ? 8 : 16;
  goals.use_gpu = !options.no_gpu;
  goals.objective = options.throughput ? PlanObjective::kThroughput : PlanObjective::kLatency;
  return goals;
}

std::string FileName(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

// What is wrong with how it was called; "" if nothing.
std::string WrongUsage(const Options& options) {
  const size_t plans =
      std::max<size_t>(1, options.machines.size()) * std::max<size_t>(1, options.profiles.size());
  if (options.model.empty()) return "MODEL is missing: a checkpoint folder, or a config.json";
  if (plans > 1 && !options.compare) return "several machines or profiles need --compare";
  if (plans > 1 && !options.out.empty()) return "-o writes one plan: give one machine and profile";
  return "";
}

absl::Status PlanAll(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(const PlannedModel model, ReadModel(options.model));
  TANDEM_ASSIGN_OR_RETURN(const auto machines, Machines(options));
  TANDEM_ASSIGN_OR_RETURN(const auto profiles, Profiles(options));
  const PlanGoals goals = GoalsOf(options, model.shape);
  std::vector<std::unique_ptr<Plan>> plans;  // reports refer to them
  std::vector<PlanReport> reports;
  for (const Machine& machine : machines) {
    for (size_t i = 0; i < profiles.size(); ++i) {
      const ExpertProfile* profile = profiles[i] ? &*profiles[i] : nullptr;
      TANDEM_ASSIGN_OR_RETURN(Plan plan,
                              MakePlan(model.shape, model.identity, machine, profile, goals));
      plans.push_back(std::make_unique<Plan>(std::move(plan)));
      reports.push_back({.shape = model.shape,
                         .machine = machine,
                         .plan = *plans.back(),
                         .profile_name = profile ? FileName(options.profiles[i]) : ""});
      if (!options.compare || options.json)
        reports.back().upgrades =
            NextUpgrades(model.shape, model.identity, machine, profile, goals);
    }
  }
  const std::string text = options.compare
                               ? options.json ? ComparisonJson(reports) : ComparisonText(reports)
                           : options.json ? PlanJson(reports[0])
                                          : PlanText(reports[0]);
  std::printf("%s%s", text.c_str(), text.ends_with('\n') ? "" : "\n");
  if (options.out.empty()) return absl::OkStatus();
  return WritePlan(options.out, *plans[0]);
}

int Run(const Options& options) {
  if (options.list_machines) {
    for (const std::string& name : ShippedMachines()) std::printf("%s\n", name.c_str());
    return 0;
  }
  if (const std::string wrong = WrongUsage(options); !wrong.empty()) {
    std::fprintf(stderr, "tandem: error: %s; see tandem plan --help\n", wrong.c_str());
    return 2;
  }
  const absl::Status status = PlanAll(options);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace

void AddPlan(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.Add(
      "plan", "what lies where on a machine, why, and how fast it will be",
      "  tandem plan /models/Kimi-K2.6 --profile work.profile -o work.plan\n"
      "  tandem plan Kimi-K2.6/config.json --machine spr-2s-h100 --context 262144\n"
      "  tandem plan Kimi-K2.6 --compare --machine spr-2s-h100 --machine turin-2s-pro6000");
  Options& o = *options;
  sub->add_flag("--list-machines", o.list_machines, "names that --machine knows");
  sub->add_option("model", o.model, "checkpoint folder, or a config.json");
  sub->add_option("--profile", o.profiles,
                  "how experts are used (tandem profile); several with "
                  "--compare");
  sub->add_option("--machine", o.machines,
                  "a shipped description, a JSON file or an hwloc synthetic string; default: this "
                  "machine");
  sub->add_option("--context", o.context, "tokens that every sequence may reach (default 32768)")
      ->check(CLI::PositiveNumber);
  sub->add_option("--concurrency", o.goals.concurrency, "sequences at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_option("--max-step-tokens", o.goals.max_step_tokens, "prompt rows of a step on the CPU")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_option("--vram-reserve", o.vram_reserve_gib, "GiB left alone on the GPU")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--ram-reserve", o.ram_reserve_gib, "GiB left to the system")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--stream-buffer", o.stream_buffer_gib,
                  "GiB on the GPU for streamed experts; 0: none are streamed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--dense-dtype", o.dense_dtype, "of the dense side without a GPU")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  sub->add_flag("--no-gpu", o.no_gpu, "leave the machine's GPU alone");
  sub->add_flag("--throughput", o.throughput, "plan for many short sequences at once");
  sub->add_option("-o,--out", o.out, "write the plan to this file");
  sub->add_flag("--json", o.json, "everything, as JSON");
  sub->add_flag("--compare", o.compare, "several machines or profiles side by side");
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
