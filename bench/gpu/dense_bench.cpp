#include "absl/strings/str_cat.h"
#include "bench/gpu/parts.h"
#include "gpu_attention/cuda/gemm.h"
#include "gpu_attention/cuda/rms_norm.h"
#include "gpu_attention/cuda/router.h"
#include "gpu_attention/cuda/sampling.h"
#include "gpu_attention/cuda/silu_mul.h"

namespace tandem::TANDEM_GPU {
namespace {

using Counts = std::vector<int32_t>;

struct Product {
  const char* name;
  int32_t outputs, inputs;
};

std::vector<Product> ProductsOf(const ModelShape& s) {
  return {{"q_a, kv_a", s.q_lora_rank + s.cache_dim(), s.hidden},
          {"q_b", s.heads * s.qk_dim(), s.q_lora_rank},
          {"o", s.hidden, s.heads * s.v_dim},
          {"shared gate, up", 2 * s.shared_intermediate(), s.hidden},
          {"shared down", s.hidden, s.shared_intermediate()},
          {"dense gate, up", 2 * s.dense_intermediate, s.hidden},
          {"head", s.vocab, s.hidden}};
}

absl::Status TimeProduct(BenchContext& bench, const Product& product) {
  const int64_t weights = int64_t{product.outputs} * product.inputs;
  const int copies = bench.ColdCopies(2.0 * weights);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer w, bench.Random(copies * weights, 0.05f));
  TANDEM_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Create(bench.stream()));
  for (const int32_t rows : bench.Pick<Counts>({1, 8, 64, 512}, {1, 5})) {
    const int64_t in = int64_t{rows} * product.inputs, out = int64_t{rows} * product.outputs;
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(in));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer y, bench.Room<float>(out));
    TANDEM_RETURN_IF_ERROR(
        bench.Time(copies,
                   [&](Stream&, int i) {
                     gemm.Linear({.rows = rows,
                                  .outputs = product.outputs,
                                  .inputs = product.inputs,
                                  .x = x.as<bf16>(),
                                  .w = w.part<bf16>(i * weights, weights),
                                  .y_f32 = y.as<float>()});
                   },
                   {.what = absl::StrCat("product ", product.name),
                    .shape = absl::StrCat(rows, " x ", product.inputs, " -> ", product.outputs),
                    .bytes = 2.0 * (weights + in) + 4.0 * out,
                    .flops = 2.0 * out * product.inputs}));
  }
  return absl::OkStatus();
}

absl::Status Routers(BenchContext& bench) {
  const ModelShape& s = bench.shape();
  const int64_t gate_elems = int64_t{s.experts} * s.hidden;
  const int copies = bench.ColdCopies(2.0 * gate_elems);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer gate, bench.Random(copies * gate_elems, 0.05f));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer bias, bench.RandomFloats(s.experts, 0.1f));
  for (const int32_t tokens : bench.Pick<Counts>({1, 8, 64, 512}, {1, 5})) {
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.Random(int64_t{tokens} * s.hidden));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer workspace,
                            bench.Room<float>(RouterWorkspaceFloats(tokens, s.hidden, s.experts)));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer ids, bench.Room<int32_t>(tokens * s.top_k));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer weights, bench.Room<float>(tokens * s.top_k));
    RouterArgs args = {.tokens = tokens,
                       .hidden = s.hidden,
                       .experts = s.experts,
                       .top_k = s.top_k,
                       .routed_scaling = s.routed_scaling,
                       .x = x.as<bf16>(),
                       .bias = bias.as<float>(),
                       .workspace = workspace.as<float>(),
                       .expert_ids = ids.as<int32_t>(),
                       .weights = weights.as<float>()};
    TANDEM_RETURN_IF_ERROR(bench.Time(copies,
                                      [&](Stream& stream, int i) {
                                        args.gate_bf16 =
                                            gate.part<bf16>(i * gate_elems, gate_elems);
                                        Router(stream, args);
                                      },
                                      {.what = "router",
                                       .shape = absl::StrCat(tokens, " tokens"),
                                       .bytes = 2.0 * (gate_elems + int64_t{tokens} * s.hidden),
                                       .flops = 2.0 * tokens * gate_elems}));
  }
  return absl::OkStatus();
}

// Rows that the kernel before has just written: they come from the L2 cache, as in a step.
constexpr int kWarmRepeats = 16;

absl::Status Norms(BenchContext& bench) {
  const int32_t dim = bench.shape().hidden;
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer weight, bench.RandomFloats(dim));
  for (const int32_t rows : bench.Pick<Counts>({1, 8, 64, 512}, {1, 5})) {
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer x, bench.RandomFloats(int64_t{rows} * dim));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer out, bench.Room<bf16>(int64_t{rows} * dim));
    TANDEM_RETURN_IF_ERROR(bench.Time(bench.Pick(kWarmRepeats, 2),
                                      [&](Stream& stream, int) {
                                        RmsNorm(stream, {.rows = rows,
                                                         .dim = dim,
                                                         .eps = 1e-5f,
                                                         .x = x.as<float>(),
                                                         .weight = weight.as<float>(),
                                                         .out = out.as<bf16>()});
                                      },
                                      {.what = "rms_norm",
                                       .shape = absl::StrCat(rows, " rows of ", dim),
                                       .bytes = 6.0 * rows * dim,
                                       .note = "rows in L2"}));
  }
  return absl::OkStatus();
}

absl::Status Gates(BenchContext& bench) {
  const int32_t width = bench.shape().shared_intermediate();
  for (const int32_t rows : bench.Pick<Counts>({8, 512}, {5})) {
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer in, bench.RandomFloats(int64_t{rows} * 2 * width));
    TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer out, bench.Room<bf16>(int64_t{rows} * width));
    TANDEM_RETURN_IF_ERROR(bench.Time(bench.Pick(kWarmRepeats, 2),
                                      [&](Stream& stream, int) {
                                        SiluMul(stream, {.gate_up_f32 = in.as<float>(),
                                                         .out = out.as<bf16>(),
                                                         .rows = rows,
                                                         .width = width,
                                                         .in_row = 2 * width});
                                      },
                                      {.what = "silu_mul",
                                       .shape = absl::StrCat(rows, " rows of ", width),
                                       .bytes = 10.0 * rows * width,
                                       .note = "rows in L2"}));
  }
  return absl::OkStatus();
}

absl::Status Sampling(BenchContext& bench) {
  const int32_t vocab = bench.shape().vocab, most = bench.Pick(8, 2);
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer logits,
                          bench.RandomFloats(int64_t{most} * vocab, 20.0f));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer ids, bench.Room<int32_t>(most));
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer logprobs, bench.Room<float>(most));
  const RowSampling cut = {.uniform = 0.6, .temperature = 1, .top_k = 64, .top_p = 0.95f};
  TANDEM_ASSIGN_OR_RETURN(const DeviceBuffer how,
                          bench.Upload(std::vector<RowSampling>(most, cut)));
  for (const bool greedy : {true, false}) {
    for (const int32_t rows : {1, most}) {
      SamplingArgs args = {.rows = rows,
                           .vocab = vocab,
                           .logits = logits.as<float>(),
                           .ids = ids.as<int32_t>(),
                           .logprobs = logprobs.as<float>()};
      if (!greedy) args.how = how.as<RowSampling>();
      TANDEM_RETURN_IF_ERROR(bench.Time(
          bench.Pick(4, 2), [&](Stream& stream, int) { SampleTokens(stream, args); },
          {.what = "sampling",
           .shape = absl::StrCat(rows, greedy ? " rows, greedy" : " rows, top_k 64, top_p 0.95"),
           .bytes = 4.0 * rows * vocab,
           .note = "logits in L2; one block a row"}));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchDense(BenchContext& bench) {
  for (const Product& product : ProductsOf(bench.shape()))
    TANDEM_RETURN_IF_ERROR(TimeProduct(bench, product));
  TANDEM_RETURN_IF_ERROR(Routers(bench));
  TANDEM_RETURN_IF_ERROR(Norms(bench));
  TANDEM_RETURN_IF_ERROR(Gates(bench));
  return Sampling(bench);
}

}  // namespace tandem::TANDEM_GPU
