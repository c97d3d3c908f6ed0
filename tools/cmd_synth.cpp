// tandem synth: a checkpoint with random weights.
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "tools/command.h"
#include "tools/synth.h"

namespace tandem {
namespace {

struct Options {
  SynthOptions synth;
  std::string shape = "k2.6";
  std::string dtype;
  bool flat = false, nested = false, tied = false;
  // Applied to the named shape once it is known, in the order of the command line.
  std::vector<std::function<void(ModelShape&)>> overrides;
};

// A flag that replaces one number of the shape.
template <class T>
void AddOverride(CLI::App* sub, Options& options, const std::string& flag, T ModelShape::*field,
                 const std::string& description) {
  sub->add_option_function<T>(
         flag,
         [&options, field](const T& value) {
           options.overrides.push_back([field, value](ModelShape& shape) { shape.*field = value; });
         },
         description)
      ->group("Shape, each number instead of the named shape's");
}

void AddOverrides(CLI::App* sub, Options& o) {
  AddOverride(sub, o, "--layers", &ModelShape::layers, "decoder layers");
  AddOverride(sub, o, "--dense-layers", &ModelShape::dense_layers, "of these without experts");
  AddOverride(sub, o, "--vocab", &ModelShape::vocab, "tokens, the 256 control tokens included");
  AddOverride(sub, o, "--hidden", &ModelShape::hidden, "width of the residual stream");
  AddOverride(sub, o, "--dense-intermediate", &ModelShape::dense_intermediate,
              "width of a dense layer's MLP");
  AddOverride(sub, o, "--experts", &ModelShape::experts, "routed experts per layer");
  AddOverride(sub, o, "--top-k", &ModelShape::top_k, "experts per token");
  AddOverride(sub, o, "--expert-intermediate", &ModelShape::expert_intermediate,
              "width of an expert");
  AddOverride(sub, o, "--shared-experts", &ModelShape::shared_experts, "shared experts");
  AddOverride(sub, o, "--expert-groups", &ModelShape::expert_groups, "n_group");
  AddOverride(sub, o, "--top-k-groups", &ModelShape::top_k_groups, "topk_group");
  AddOverride(sub, o, "--routed-scaling", &ModelShape::routed_scaling, "routed_scaling_factor");
  AddOverride(sub, o, "--heads", &ModelShape::heads, "attention heads");
  AddOverride(sub, o, "--q-lora-rank", &ModelShape::q_lora_rank, "0: one plain query projection");
  AddOverride(sub, o, "--kv-lora-rank", &ModelShape::kv_lora_rank, "width of the cached latent");
  AddOverride(sub, o, "--qk-nope-dim", &ModelShape::qk_nope_dim, "per head, without position");
  AddOverride(sub, o, "--qk-rope-dim", &ModelShape::qk_rope_dim, "per head, rotated");
  AddOverride(sub, o, "--v-dim", &ModelShape::v_dim, "per head, values");
  AddOverride(sub, o, "--max-positions", &ModelShape::max_positions, "longest context");
  AddOverride(sub, o, "--rope-theta", &ModelShape::rope_theta, "base of the rotation");
  AddOverride(sub, o, "--rms-norm-eps", &ModelShape::rms_norm_eps, "epsilon of the norms");
}

void AddYarnOverrides(CLI::App* sub, Options& options) {
  const auto add = [&](const std::string& flag, double YarnShape::*field,
                       const std::string& description) {
    sub->add_option_function<double>(
           flag,
           [&options, field](const double& value) {
             options.overrides.push_back(
                 [field, value](ModelShape& shape) { shape.yarn.*field = value; });
           },
           description)
        ->group("Shape, each number instead of the named shape's");
  };
  add("--yarn-factor", &YarnShape::factor, "context extension; 1: none");
  add("--yarn-beta-fast", &YarnShape::beta_fast, "beta_fast");
  add("--yarn-beta-slow", &YarnShape::beta_slow, "beta_slow");
}

absl::StatusOr<SynthModel> ChooseModel(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(SynthModel model, FindSynthModel(options.shape));
  for (const auto& apply : options.overrides) apply(model.shape);
  if (model.shape.yarn.factor != 1.0 && model.shape.yarn.original_max_positions == 0) {
    model.shape.yarn.original_max_positions = model.shape.max_positions;
  }
  if (options.flat) model.nested = false;
  if (options.nested) model.nested = true;
  model.tied = options.tied;
  if (options.dtype == "int4") model.format = SynthFormat::kInt4;
  if (options.dtype == "bf16-experts") model.format = SynthFormat::kBf16Experts;
  if (options.dtype == "fp8") model.format = SynthFormat::kFp8;
  return model;
}

int Run(Options& options) {
  auto model = ChooseModel(options);
  if (!model.ok()) return Fail(model.status());
  options.synth.model = *std::move(model);
  ProgressPrinter printer("writing");
  const absl::Status status = Synthesize(options.synth, printer.Fn());
  if (!status.ok()) return Fail(status);
  return 0;
}

}  // namespace

void AddSynth(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      commands.Add("synth", "write a checkpoint with random weights, any shape",
                   "  tandem synth k2 --shape k2.6 --layers 2 --vocab 16384\n"
                   "  tandem synth k2 --layers 2 --vocab 16384 --tokenizer kimi-k2.6-tokenizer\n"
                   "  tandem synth small --shape tiny --dtype bf16-experts --flat --seed 7");
  sub->add_option("out", options->synth.out_dir, "folder to write")->required();
  std::string shapes;
  std::vector<std::string> names;
  for (const SynthModel& model : SynthModels()) {
    shapes += absl::StrCat("\n  ", model.name, ": ", model.description);
    names.push_back(model.name);
  }
  sub->add_option("--shape", options->shape, "whose numbers to start from:" + shapes)
      ->check(CLI::IsMember(names).description(""))
      ->capture_default_str();
  sub->add_option("--dtype", options->dtype, "int4, bf16-experts or fp8 (default: the shape's own)")
      ->check(CLI::IsMember({"int4", "bf16-experts", "fp8"}));
  sub->add_option("--seed", options->synth.seed, "same seed, same bytes")->capture_default_str();
  sub->add_option("--tokenizer", options->synth.tokenizer_dir,
                  "folder whose tokenizer to take, cut to --vocab (default: an invented one)");
  auto* flat = sub->add_flag("--flat", options->flat, "config without text_config, as K2");
  sub->add_flag("--nested", options->nested, "config with text_config, as K2.6")->excludes(flat);
  sub->add_flag("--tied", options->tied, "no lm_head: the embedding serves");
  sub->add_flag("--force", options->synth.force, "replace the checkpoint in a folder");
  sub->add_option("--threads", options->synth.threads, "default: one per core");
  sub->add_option("--shard-bytes", options->synth.max_shard_bytes, "largest file")
      ->capture_default_str();
  AddOverrides(sub, *options);
  AddYarnOverrides(sub, *options);
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
