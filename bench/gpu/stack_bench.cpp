// Whole decode steps. The model is random: its time does not depend on what its weights mean, and
// which experts a token goes to is as even as it gets.
#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/gpu/decode_steps.h"
#include "bench/gpu/parts.h"
#include "bench/gpu/random_experts.h"
#include "bench/gpu/random_model.h"
#include "engine/model.h"
#include "gpu_attention/cuda/gpu_backend.h"

namespace tandem::TANDEM_GPU {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr auto kTimeout = std::chrono::seconds(10);

// Sizes of a bench.
struct Run {
  int32_t prompt_pages = 15;  // 960 tokens
  int32_t max_rows = 512;     // of a step
  int32_t most_sequences = 8;
  int steps = 15, warm_ups = 3;

  static Run Of(const BenchContext& bench) { return bench.quick() ? Run{1, 64, 2, 2, 1} : Run{}; }
  DenseBackendOptions backend_options() const {
    return {.max_tokens = max_rows,
            .kv_pages = DecodeSteps::PagesFor(prompt_pages, most_sequences)};
  }
};

double Us(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

std::vector<RowSampling> Greedy(std::span<const int32_t> rows) {
  return std::vector<RowSampling>(rows.size());
}

using Forward = std::function<absl::Status(const StepBatch&)>;
using Tokens = std::function<absl::Status(std::span<const int32_t>)>;

// Caches the prompt that all decode steps go on from.
absl::Status Prefill(const Run& run, const ModelShape& shape, const Forward& forward,
                     const Tokens& tokens) {
  DecodeSteps steps(shape, run.prompt_pages, 1);
  for (const StepBatch& prompt : steps.Prompt(run.max_rows)) {
    TANDEM_RETURN_IF_ERROR(forward(prompt));
    TANDEM_RETURN_IF_ERROR(tokens(std::vector<int32_t>{0}));
  }
  return absl::OkStatus();
}

// Times decode steps to the tokens (on the CPU alone: to the logits).
absl::Status TimeSteps(BenchContext& bench, int32_t rows, const Forward& forward,
                       const Tokens& tokens, GpuBenchRow row) {
  const Run run = Run::Of(bench);
  DecodeSteps steps(bench.shape(), run.prompt_pages, rows);
  std::vector<double> us;
  for (int step = 0; step < run.warm_ups + run.steps; ++step) {
    const StepBatch batch = steps.Step(step);
    const auto begin = Clock::now();
    TANDEM_RETURN_IF_ERROR(forward(batch));
    TANDEM_RETURN_IF_ERROR(tokens(steps.all_rows()));
    if (step >= run.warm_ups) us.push_back(Us(begin));
  }
  SetTimes(std::move(us), row);
  if (row.note.empty()) row.note = absl::StrFormat("%.1f tokens/s", rows / row.us * 1e6);
  bench.Add(row);
  return absl::OkStatus();
}

absl::Status Load(const RandomModel& weights, const ModelShape& shape, DenseBackend& backend) {
  TANDEM_RETURN_IF_ERROR(backend.LoadGlobals(weights.globals()));
  for (LayerId layer{0}; layer.value < shape.layers; ++layer.value)
    TANDEM_RETURN_IF_ERROR(backend.LoadLayer(layer, weights.layer(layer)));
  return absl::OkStatus();
}

// A step in which the CPU answers every layer at once, with zeros.
absl::Status AnswerAtOnce(const ModelShape& shape, DenseBackend& backend, const StepBatch& batch) {
  TANDEM_RETURN_IF_ERROR(backend.BeginStep(batch));
  for (LayerId layer{0}; layer.value < shape.layers; ++layer.value) {
    backend.Attention(layer, 0);
    if (!shape.is_moe(layer.value)) {
      backend.DenseMlp(layer, 0);
      continue;
    }
    backend.Route(layer, 0);
    backend.SharedExperts(layer, 0);
    TANDEM_RETURN_IF_ERROR(backend.Routed(layer, 0).status());
    backend.AddExperts(layer, 0);  // the sums were zero from the start
  }
  return absl::OkStatus();
}

// CpuExperts that several models take turns with.
class LentExperts final : public CpuExperts {
 public:
  explicit LentExperts(CpuExperts& experts) : experts_(experts) {}
  absl::Status LoadExpert(LayerId layer, ExpertId expert, const ExpertWeights& weights) override {
    return experts_.LoadExpert(layer, expert, weights);
  }
  int n_shards() const override { return experts_.n_shards(); }
  ExpertShards Shards(LayerId layer, ExpertId expert) const override {
    return experts_.Shards(layer, expert);
  }
  absl::Status EnsureVerified(LayerId layer, View<const int32_t, 2> ids) override {
    return experts_.EnsureVerified(layer, ids);
  }
  void Forward(LayerId layer, const RoutedTokens& in, View<float, 2> y) override {
    experts_.Forward(layer, in, y);
  }
  std::string kernel_name() const override { return experts_.kernel_name(); }
  int64_t weight_bytes() const override { return experts_.weight_bytes(); }
  int64_t expert_bytes() const override { return experts_.expert_bytes(); }

 private:
  CpuExperts& experts_;
};

// One model's layers in full width, computed in several ways.
class Hybrid {
 public:
  static absl::StatusOr<std::unique_ptr<Hybrid>> Create(BenchContext& bench) {
    auto hybrid = std::unique_ptr<Hybrid>(new Hybrid(bench));
    ModelShape& s = hybrid->shape_;
    // Experts may take two thirds of what RAM is left beside the dense side.
    const double layer_bytes = ExpertLayout{s.hidden, s.expert_intermediate}.bytes() * 1.01;
    const int64_t room = (FreeHostBytes() - bench.Pick<int64_t>(16 * kGiB, 0)) * 2 / 3;
    const double fits = std::max(0.0, static_cast<double>(room) / layer_bytes);  // experts
    const int32_t most = bench.Pick(6, 2);
    if (fits < s.experts) s.experts = std::max(s.top_k, static_cast<int32_t>(fits) / 8 * 8);
    s.layers = 1 + std::clamp(static_cast<int32_t>(fits / s.experts), 1, most);
    TANDEM_ASSIGN_OR_RETURN(hybrid->weights_, RandomModel::Create(s, hybrid->team_));
    hybrid->pinned_ = PinnedRegion::Pin(hybrid->weights_.memory());
    TANDEM_ASSIGN_OR_RETURN(
        hybrid->experts_, RandomExperts(s, {.max_tokens = Run::Of(bench).max_rows}, hybrid->team_));
    return hybrid;
  }

  absl::Status OnCpu(const std::vector<int32_t>& batches) {
    TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<DenseBackend> backend,
                            CreateHostBackend(shape_, Run::Of(bench_).backend_options(), team_));
    TANDEM_RETURN_IF_ERROR(Load(weights_, shape_, *backend));
    model_ = ModelOf(std::move(backend), MicroBatches::kOff);
    return Time("CPU only", batches);
  }

  absl::Status OnGpu(double hot, bool graphs, MicroBatches micro_batches,
                     const std::vector<int32_t>& batches) {
    const auto hot_experts = static_cast<int32_t>(hot * shape_.experts) * shape_.moe_layers();
    TANDEM_ASSIGN_OR_RETURN(std::unique_ptr<DenseBackend> backend,
                            GpuBackend::Create(shape_, Run::Of(bench_).backend_options(),
                                               {.graphs = graphs,
                                                .hot_experts = hot_experts,
                                                .expert_shards = experts_->n_shards(),
                                                .timeout = kTimeout}));
    TANDEM_RETURN_IF_ERROR(Load(weights_, shape_, *backend));
    HotSet hot_set(shape_, *backend->expert_device(), *experts_, /*leave_ram=*/false);
    const HotExperts chosen = SpreadHotExperts(shape_, hot);
    for (LayerId layer{shape_.dense_layers}; layer.value < shape_.layers; ++layer.value)
      TANDEM_RETURN_IF_ERROR(hot_set.Add(layer, chosen[layer.value]));
    model_ = ModelOf(std::move(backend), micro_batches);
    const std::string how =
        absl::StrFormat("hybrid, %.0f %% hot%s%s", 100 * hot, graphs ? "" : ", no graph",
                        micro_batches == MicroBatches::kOn ? ", 2 parts" : "");
    return Time(how, batches);
  }

 private:
  explicit Hybrid(BenchContext& bench) : bench_(bench), shape_(bench.shape()) {
    team_.PinCaller();  // as the engine's thread
  }
  std::unique_ptr<Model> ModelOf(std::unique_ptr<DenseBackend> backend, MicroBatches parts) {
    return Model::Create(shape_, Run::Of(bench_).max_rows, std::move(backend),
                         std::make_unique<LentExperts>(*experts_),
                         {.micro_batches = parts, .split = {.stream = StreamExperts::kNever}});
  }
  absl::Status Time(const std::string& how, const std::vector<int32_t>& batches) {
    const Forward forward = [this](const StepBatch& batch) { return model_->Forward(batch); };
    const Tokens tokens = [this](std::span<const int32_t> r) {
      return model_->samples() ? model_->Sample(r, Greedy(r)).status() : model_->Logits(r).status();
    };
    TANDEM_RETURN_IF_ERROR(Prefill(Run::Of(bench_), shape_, forward, tokens));
    for (const int32_t rows : batches)
      TANDEM_RETURN_IF_ERROR(
          TimeSteps(bench_, rows, forward, tokens,
                    {.what = absl::StrCat("step of 1+", shape_.moe_layers(), " layers, ",
                                          shape_.experts, " experts"),
                     .shape = absl::StrCat("batch ", rows, ", ", how)}));
    model_ = nullptr;
    return absl::OkStatus();
  }

  BenchContext& bench_;
  ModelShape shape_;
  WorkerTeam team_;
  const WorkerTeam::Awake awake_{team_};
  RandomModel weights_;
  // Loading is slower without.
  absl::StatusOr<PinnedRegion> pinned_ = absl::UnavailableError("not yet");
  std::unique_ptr<CpuExperts> experts_;
  std::unique_ptr<Model> model_;
};

}  // namespace

absl::Status BenchDenseStack(BenchContext& bench) {
  ModelShape shape = bench.shape();
  // A layer's dense weights are about 0.3 GB, embedding and head 4.7, and something must be left.
  const int64_t free_bytes = bench.device().free_bytes;
  if (!bench.quick() && free_bytes < 32 * kGiB)
    shape.layers = std::clamp<int32_t>(static_cast<int32_t>((free_bytes - 10 * kGiB) * 3 / kGiB), 4,
                                       shape.layers);
  WorkerTeam team;
  TANDEM_ASSIGN_OR_RETURN(const RandomModel weights, RandomModel::Create(shape, team));
  const auto pinned = PinnedRegion::Pin(weights.memory());  // only loading is slower without
  TANDEM_ASSIGN_OR_RETURN(
      const std::unique_ptr<DenseBackend> backend,
      GpuBackend::Create(shape, Run::Of(bench).backend_options(), {.timeout = kTimeout}));
  TANDEM_RETURN_IF_ERROR(Load(weights, shape, *backend));
  const Forward forward = [&](const StepBatch& batch) {
    return AnswerAtOnce(shape, *backend, batch);
  };
  const Tokens tokens = [&](std::span<const int32_t> r) {
    return backend->Sample(r, Greedy(r)).status();
  };
  TANDEM_RETURN_IF_ERROR(Prefill(Run::Of(bench), shape, forward, tokens));
  for (const int32_t rows : bench.Pick<std::vector<int32_t>>({1, 8}, {1, 2})) {
    TANDEM_RETURN_IF_ERROR(
        TimeSteps(bench, rows, forward, tokens,
                  {.what = absl::StrCat("step, dense side, ", shape.layers, " layers"),
                   .shape = absl::StrCat("batch ", rows, ", experts answered at once"),
                   .bytes = static_cast<double>(backend->weight_bytes()) -
                            2.0 * shape.vocab * shape.hidden,  // of the embedding, a row
                   .goal_us = rows == 1 && shape.layers == 61 ? 10e3 : 0.0,
                   .note = shape.layers == bench.shape().layers || bench.quick()
                               ? ""
                               : "the device has no room for 61 layers"}));
  }
  return absl::OkStatus();
}

absl::Status BenchHybrid(BenchContext& bench) {
  TANDEM_ASSIGN_OR_RETURN(const std::unique_ptr<Hybrid> hybrid, Hybrid::Create(bench));
  const int32_t many = Run::Of(bench).most_sequences;
  const std::vector<int32_t> both = {1, many};
  TANDEM_RETURN_IF_ERROR(hybrid->OnGpu(0, true, MicroBatches::kOff, both));
  TANDEM_RETURN_IF_ERROR(hybrid->OnCpu(both));
  TANDEM_RETURN_IF_ERROR(hybrid->OnGpu(0, false, MicroBatches::kOff, {1}));
  TANDEM_RETURN_IF_ERROR(hybrid->OnGpu(0, true, MicroBatches::kOn, {many}));
  const double some = bench.Pick(0.1, 0.25), half = 0.5;
  TANDEM_RETURN_IF_ERROR(hybrid->OnGpu(some, true, MicroBatches::kOff, both));
  TANDEM_RETURN_IF_ERROR(hybrid->OnGpu(some, true, MicroBatches::kOn, {many}));
  return hybrid->OnGpu(half, true, MicroBatches::kOff, both);
}

}  // namespace tandem::TANDEM_GPU
