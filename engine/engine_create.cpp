// Engine::Create: from a checkpoint folder and a machine to a running engine.
#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/memory.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_loader.h"
#include "engine/checkpoint/progress.h"
#include "engine/engine_loop.h"
#include "engine/kv_sizing.h"
#include "placement/footprint.h"
#include "placement/machine.h"

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
  TANDEM_RETURN_IF_ERROR(CheckLimit("max_step_tokens", options.max_step_tokens, 1));
  TANDEM_RETURN_IF_ERROR(CheckLimit("max_sequences", options.max_sequences, 1));
  return CheckLimit("max_queue", options.max_queue, 0);
}

int64_t KvPagesOf(const EngineOptions& options, const ModelShape& shape) {
  const double dense_weight_bytes =
      options.dense_dtype == DenseDType::kInt8 ? 1.0 : kBf16WeightBytes;
  const Footprint footprint = ComputeFootprint(shape, dense_weight_bytes);
  return ChooseKvPages({
      .wanted_tokens = options.kv_tokens,
      .bytes_per_token = footprint.kv_bytes_per_token,
      .free_bytes = DetectMachine().available_bytes - footprint.weights_bytes(),
      .max_positions = shape.max_positions,
      .max_sequences = options.max_sequences,
  });
}

absl::StatusOr<std::unique_ptr<CpuExperts>> CreateExperts(const EngineOptions& options,
                                                          const ModelShape& shape, int32_t max_rows,
                                                          WorkerTeam& team, bool maps) {
  if (shape.moe_layers() == 0) return nullptr;
  return CpuExperts::Create(ExpertsShapeOf(shape),
                            {.activations = options.expert_activations,
                             .kernel = options.kernel,
                             .max_tokens = max_rows,
                             .reserve = !maps},
                            team);
}

std::string Describe(const EngineParts& parts, const EngineOptions& options) {
  const ModelShape& shape = parts.config.shape;
  std::string text = absl::StrCat(parts.config.model_type, ", ", shape.layers,
                                  " layers, dense side ", parts.model->dense().description());
  if (const CpuExperts* experts = parts.model->experts())
    absl::StrAppend(&text, ", ", shape.experts, " experts (top ", shape.top_k, ") int4 x ",
                    NameOf(options.expert_activations), " on ", experts->kernel_name());
  return absl::StrCat(text, ", ", parts.team->Describe(), ", cache of ",
                      parts.kv_pages * kPageTokens, " tokens");
}

absl::Status Load(const Checkpoint& checkpoint, const EngineOptions& options, DenseBackend* dense,
                  CpuExperts* experts, WorkerTeam& team) {
  if (!options.show_progress)
    return LoadModel(checkpoint, dense, experts, team, {}, options.expert_load);
  ProgressPrinter printer("loading");
  return LoadModel(checkpoint, dense, experts, team, printer.Fn(), options.expert_load);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  TANDEM_RETURN_IF_ERROR(Validate(options));
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                          Checkpoint::Open(options.model_dir));
  EngineParts parts;
  parts.config = checkpoint->config();
  const ModelShape& shape = parts.config.shape;
  TANDEM_ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::Load(options.model_dir));

  const int32_t max_rows = options.max_step_tokens + options.max_sequences;
  parts.kv_pages = KvPagesOf(options, shape);
  parts.team = std::make_unique<WorkerTeam>(WorkerTeamOptions{.workers = options.threads});
  for (const std::string& warning : parts.team->warnings()) LogWarning("{}", warning);
  TANDEM_ASSIGN_OR_RETURN(
      const bool maps, MapsExperts(*checkpoint, options.expert_load.memory, parts.team->nodes()));
  TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<CpuExperts> experts,
                          CreateExperts(options, shape, max_rows, *parts.team, maps));
  TANDEM_ASSIGN_OR_RETURN(
      std::unique_ptr<DenseBackend> dense,
      CreateHostBackend(
          shape, {.dtype = options.dense_dtype, .max_tokens = max_rows, .kv_pages = parts.kv_pages},
          *parts.team));
  TANDEM_RETURN_IF_ERROR(Load(*checkpoint, options, dense.get(), experts.get(), *parts.team));
  TANDEM_ASSIGN_OR_RETURN(parts.model,
                          Model::Create(shape, max_rows, std::move(dense), std::move(experts)));
  parts.description = Describe(parts, options);
  LogInfo("{}; {} of memory on 2 MiB pages", parts.description, BytesText(ReadHugePageBytes()));
  return std::make_unique<EngineLoop>(std::move(parts), options);
}

}  // namespace tandem
