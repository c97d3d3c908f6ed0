// Engine::Create: from a checkpoint folder and a machine to a running engine.
#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/memory.h"
#include "engine/apply_plan.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/identify_model.h"
#include "engine/checkpoint/model_loader.h"
#include "engine/checkpoint/progress.h"
#include "engine/create_dense.h"
#include "engine/engine_loop.h"
#include "engine/hot_set.h"
#include "engine/machine_here.h"
#include "placement/expert_costs.h"
#include "placement/machine_file.h"

namespace tandem {
namespace {

absl::Status CheckLimit(const char* name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, ", must be ", least, " or more"));
}

absl::Status Validate(const EngineOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckLimit("threads", options.threads, 0));
  TANDEM_RETURN_IF_ERROR(CheckLimit("kv_tokens", options.kv_tokens, 0));
  TANDEM_RETURN_IF_ERROR(CheckLimit("kv_ram_tokens", options.kv_ram_tokens, 0));
  TANDEM_RETURN_IF_ERROR(CheckLimit("max_step_tokens", options.max_step_tokens, 1));
  TANDEM_RETURN_IF_ERROR(CheckLimit("max_sequences", options.max_sequences, 1));
  return CheckLimit("max_queue", options.max_queue, 0);
}

absl::StatusOr<std::unique_ptr<CpuExperts>> CreateExperts(const EngineOptions& options,
                                                          const ModelShape& shape, int32_t max_rows,
                                                          WorkerTeam& team, bool maps) {
  if (shape.moe_layers() == 0) return nullptr;
  return CpuExperts::Create(ExpertsShapeOf(shape),
                            {.activations = options.expert_activations,
                             .kernel = options.kernel,
                             .max_tokens = max_rows,
                             .reserve = !maps,
                             .placements = options.expert_placements},
                            team);
}

// By the machine's rates; what the CPU's layers take corrects its half. An emulated GPU is taken
// for a usual one.
SplitCosts SplitCostsOf(const ModelShape& shape) {
  if (shape.moe_layers() == 0) return {};
  Machine machine = MachineHere();
  if (!machine.gpu) GuessGpuRates(machine.gpu.emplace());
  constexpr double kManyRows = 256;
  const ExpertCosts costs(shape, machine, NumaHome::kSharded);
  return {.cpu_expert_s = costs.CpuSeconds(1),
          .cpu_row_s = costs.CpuSeconds(kManyRows) / kManyRows,
          .send_s = costs.SendSeconds(/*beside_cpu=*/true),
          .gpu_row_s = costs.GpuRowSeconds()};
}

// Null if it is off, or there is nothing to adapt and the device was left to us.
absl::StatusOr<std::unique_ptr<HotAdaptation>> CreateAdaptation(const DeviceOptions& options,
                                                                const ModelConfig& config,
                                                                const HotExperts& hot,
                                                                const SplitCosts& costs,
                                                                Model& model) {
  if (options.adapt == AdaptMode::kOff) return nullptr;
  const bool any_hot = std::ranges::any_of(hot, [](const auto& layer) { return !layer.empty(); });
  if (!any_hot || !model.holds_hot_experts()) {
    constexpr char kNothing[] = "there are no hot experts on a GPU that could be adapted";
    if (options.device != Device::kAuto) return absl::InvalidArgumentError(kNothing);
    LogWarning("{}", kNothing);
    return nullptr;
  }
  AdapterOptions adapter = options.adapter;
  if (adapter.cpu_expert_s == 0) adapter.cpu_expert_s = costs.cpu_expert_s;
  if (adapter.send_expert_s == 0) adapter.send_expert_s = costs.send_s;
  return std::make_unique<HotAdaptation>(options.adapt, IdentityOf(config.shape, config.model_type),
                                         hot, adapter, model);
}

// Null without room to take, or where the cache lies in RAM and the device was left to us.
absl::StatusOr<std::unique_ptr<PageStore>> CreatePageStore(const EngineOptions& options,
                                                           Model& model) {
  if (options.kv_ram_tokens == 0) return nullptr;
  const int64_t pages = PagesFor(options.kv_ram_tokens);
  if (!options.prefix_cache)
    return absl::InvalidArgumentError("kv_ram_tokens is for the prefix cache, which is off");
  if (pages > std::numeric_limits<int32_t>::max())
    return absl::InvalidArgumentError(
        absl::StrCat("kv_ram_tokens is ", options.kv_ram_tokens, ", which is too many"));
  TANDEM_ASSIGN_OR_RETURN(auto store, model.MakePageStore(static_cast<int32_t>(pages)));
  if (store == nullptr) {
    constexpr char kInRam[] =
        "kv_ram_tokens is for a GPU; without one all of the cache lies in RAM: raise kv_tokens";
    if (options.device.device != Device::kAuto) return absl::InvalidArgumentError(kInRam);
    LogWarning("{}", kInRam);
  }
  return store;
}

std::string Describe(const EngineParts& parts, const EngineOptions& options) {
  const ModelShape& shape = parts.config.shape;
  std::string text = absl::StrCat(parts.config.model_type, ", ", shape.layers,
                                  " layers, dense side ", parts.model->dense().description());
  if (const CpuExperts* experts = parts.model->experts())
    absl::StrAppend(&text, ", ", shape.experts, " experts (top ", shape.top_k, ") int4 x ",
                    NameOf(options.expert_activations), " on ", experts->kernel_name());
  return absl::StrCat(
      text, ", ", parts.team->Describe(), ", cache of ", parts.kv_pages * kPageTokens, " tokens",
      parts.page_store == nullptr
          ? ""
          : absl::StrCat(" and ", parts.page_store->places() * int64_t{kPageTokens}, " in RAM"));
}

// The hot experts go to the device as soon as their layer is there, so that RAM never holds more
// than a layer of those that leave it.
absl::Status Load(const Checkpoint& checkpoint, const EngineOptions& options, DenseBackend* dense,
                  CpuExperts* experts, WorkerTeam& team) {
  std::optional<ProgressPrinter> printer;
  if (options.show_progress) printer.emplace("loading");
  LoadOptions load = {.progress = printer ? printer->Fn() : ProgressFn{},
                      .experts = options.expert_load};
  const ModelShape& shape = checkpoint.config().shape;
  ExpertDevice* const device = dense->expert_device();
  if (device == nullptr) return LoadModel(checkpoint, dense, experts, team, load);
  HotSet hot_set(shape, *device, *experts, options.device.hot_experts_leave_ram);
  const HotExperts hot = ChooseHotExperts(shape, options.device);
  bool pins = device->streams();
  load.after_layer = [&](LayerId layer) -> absl::Status {
    if (!shape.is_moe(layer.value)) return absl::OkStatus();
    TANDEM_RETURN_IF_ERROR(hot_set.Add(layer, hot[layer.value]));
    for (const auto& memory : experts->Memory(layer)) {
      if (!pins) break;
      const absl::Status status = device->PinHostMemory(memory);
      pins = status.ok();
      if (!pins)
        LogWarning("experts stream from unlocked memory: {}", std::string(status.message()));
    }
    return absl::OkStatus();
  };
  return LoadModel(checkpoint, dense, experts, team, load);
}

// Ids become rows of the embedding and bits of masks over the vocabulary: none may lie beyond.
absl::Status CheckVocabulary(const Tokenizer& tokenizer, int32_t vocab) {
  if (tokenizer.vocab_size() <= vocab) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the tokenizer's files (tiktoken.model, tokenizer_config.json) have ids up to ",
                   tokenizer.vocab_size() - 1, ", config.json's vocab_size is ", vocab,
                   "; they are not of the same model"));
}

absl::StatusOr<EngineOptions> WithPlan(const ModelIdentity& identity,
                                       const EngineOptions& options) {
  if (options.plan == nullptr) return options;
  TANDEM_ASSIGN_OR_RETURN(EngineOptions planned, ApplyPlan(*options.plan, identity, options));
  TANDEM_RETURN_IF_ERROR(Validate(planned));
  return planned;
}

}  // namespace

absl::StatusOr<EngineParts> CreateEngineParts(const EngineOptions& wanted) {
  TANDEM_RETURN_IF_ERROR(Validate(wanted));
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          Checkpoint::Open(wanted.model_dir));
  EngineParts parts;
  TANDEM_ASSIGN_OR_RETURN(parts.identity, IdentifyModel(*checkpoint));
  TANDEM_ASSIGN_OR_RETURN(const EngineOptions options, WithPlan(parts.identity, wanted));
  parts.config = checkpoint->config();
  const ModelShape& shape = parts.config.shape;
  TANDEM_ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::Load(options.model_dir));
  TANDEM_RETURN_IF_ERROR(CheckVocabulary(*parts.tokenizer, shape.vocab));

  const int32_t max_rows = options.max_step_tokens + options.max_sequences;
  parts.team = std::make_unique<WorkerTeam>(WorkerTeamOptions{.workers = options.threads});
  for (const std::string& warning : parts.team->warnings()) LogWarning("{}", warning);
  TANDEM_ASSIGN_OR_RETURN(
      const bool maps, MapsExperts(*checkpoint, options.expert_load.memory, parts.team->nodes()));
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<CpuExperts> experts,
                          CreateExperts(options, shape, max_rows, *parts.team, maps));
  TANDEM_ASSIGN_OR_RETURN(
      CreatedDense dense,
      CreateDense({.shape = shape,
                   .dtype = options.dense_dtype,
                   .max_rows = max_rows,
                   .max_sequences = options.max_sequences,
                   .kv_tokens = options.kv_tokens,
                   .expert_shards = experts != nullptr ? experts->n_shards() : 1},
                  options.device, *parts.team));
  parts.kv_pages = dense.kv_pages;
  TANDEM_RETURN_IF_ERROR(
      Load(*checkpoint, options, dense.backend.get(), experts.get(), *parts.team));
  const DeviceOptions& device = options.device;
  const SplitCosts costs = SplitCostsOf(shape);
  parts.model = Model::Create(shape, max_rows, std::move(dense.backend), std::move(experts),
                              {.micro_batches = device.micro_batches,
                               .split = {.stream = device.stream, .costs = costs},
                               .hot_experts_leave_ram = device.hot_experts_leave_ram});
  TANDEM_ASSIGN_OR_RETURN(
      parts.adaptation,
      CreateAdaptation(device, parts.config, ChooseHotExperts(shape, device), costs, *parts.model));
  TANDEM_ASSIGN_OR_RETURN(parts.page_store, CreatePageStore(options, *parts.model));
  parts.description = Describe(parts, options);
  parts.options = options;
  LogInfo("{}; {} of memory on 2 MiB pages", parts.description, BytesText(ReadHugePageBytes()));
  return parts;
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(EngineParts parts, CreateEngineParts(options));
  const EngineOptions planned = parts.options;
  return std::make_unique<EngineLoop>(std::move(parts), planned);
}

}  // namespace tandem
