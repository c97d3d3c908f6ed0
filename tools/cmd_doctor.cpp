// `tandem doctor`: what machine this is, what is set up wrong, and whether MODEL will run here.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "bench/roofline.h"
#include "core/worker_team.h"
#include "cpu_experts/experts.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/weight_reader.h"
#include "engine/machine_here.h"
#include "gpu_attention/gpu_query.h"
#include "placement/footprint.h"
#include "placement/machine_file.h"
#include "tools/command.h"
#include "tools/doctor_rates.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// Scales of weight-only INT8: one float per 64 or more inputs, so a little over a byte a weight.
constexpr double kInt8WeightBytes = 1.07;
// Room for step workspaces, tokenizer tables and the program itself.
constexpr int64_t kWorkspaceBytes = int64_t{1} << 30;

constexpr int64_t kDefaultContext = 32768;

struct DoctorOptions {
  std::string model;
  int64_t context = 0;  // 0: what the model allows, at most kDefaultContext
  bool measure = true;
  bool calibrate = false;
  std::vector<int32_t> weight_bits = {16, 8};  // of a calibration
  bool json = false;
};

struct Finding {
  bool fatal;  // it will not run; otherwise it runs, but worse than it could
  std::string text;
};

std::string Size(int64_t bytes) {
  return bytes < int64_t{1} << 30 ? absl::StrFormat("%.1f MiB", bytes / 1048576.0)
                                  : absl::StrFormat("%.1f GiB", bytes / 1073741824.0);
}

void CheckSetup(const Machine& m, std::vector<Finding>& findings) {
  if (!m.cpu.avx2) {
    findings.push_back({false, "This CPU has no AVX2: the plain kernels run, many times slower."});
  }
  if (m.transparent_huge_pages == "never") {
    findings.push_back(
        {false,
         "Transparent huge pages are off: expect slower decode. As root: echo madvise > "
         "/sys/kernel/mm/transparent_hugepage/enabled"});
  }
  if (m.swap_used_bytes > int64_t{1} << 30) {
    findings.push_back({false, absl::StrCat("The system has ", Size(m.swap_used_bytes),
                                            " in swap: it is short of memory already.")});
  }
  for (const MachineNode& node : m.nodes) {
    if (node.memory_bytes == 0) {
      findings.push_back(
          {false, absl::StrCat("NUMA node ", node.os_index,
                               " has no memory: its cores read over the interconnect.")});
    }
  }
}

struct ModelReport {
  Footprint bf16, int8;
  int64_t context = 0;
  int64_t need_bf16 = 0, need_int8 = 0;
  int32_t packed_shards = 0;  // 0: not a packed image
};

int64_t Need(const Footprint& f, int64_t context) {
  return f.weights_bytes() + f.kv_bytes_per_token * context + kWorkspaceBytes;
}

// Whether this image starts without packing, and how it fits the machine.
void CheckPacked(const Checkpoint& checkpoint, const Machine& machine, ModelReport& report,
                 std::vector<Finding>& findings) {
  const auto nodes = static_cast<int32_t>(machine.nodes.size());
  if (checkpoint.config().shape.moe_layers() == 0) return;
  if (checkpoint.packed() == nullptr) {
    findings.push_back({false,
                        "It is not packed: every start packs the experts anew. tandem pack writes "
                        "an image that starts in seconds."});
    return;
  }
  report.packed_shards = checkpoint.packed()->shards;
  if (report.packed_shards == nodes) return;
  findings.push_back(
      {false, absl::StrFormat("The image has %d shard(s) per expert and this machine %d NUMA "
                              "node(s): every start cuts the experts anew. tandem pack MODEL OUT "
                              "--shards %d writes one that fits.",
                              report.packed_shards, nodes, nodes)});
}

absl::StatusOr<ModelReport> Examine(const DoctorOptions& options, const Machine& machine,
                                    std::vector<Finding>& findings) {
  TANDEM_ASSIGN_OR_RETURN(auto checkpoint, Checkpoint::Open(options.model));
  TANDEM_RETURN_IF_ERROR(WeightReader(*checkpoint).CheckComplete().status());
  ModelReport report;
  const ModelShape& shape = checkpoint->config().shape;
  report.bf16 = ComputeFootprint(shape, kBf16WeightBytes);
  report.int8 = ComputeFootprint(shape, kInt8WeightBytes);
  report.context =
      options.context > 0 ? options.context : std::min(kDefaultContext, shape.max_positions);
  report.need_bf16 = Need(report.bf16, report.context);
  report.need_int8 = Need(report.int8, report.context);
  CheckPacked(*checkpoint, machine, report, findings);
  if (options.context > shape.max_positions) {
    findings.push_back(
        {false, absl::StrCat("--context ", options.context, " is more than the model's ",
                             shape.max_positions, " positions.")});
  }
  if (report.need_int8 > machine.available_bytes) {
    findings.push_back(
        {true, absl::StrCat("It does not fit: ", Size(report.need_int8),
                            " needed even with --dense-dtype int8, ", Size(machine.available_bytes),
                            " available of ", Size(machine.memory_bytes),
                            ". Add RAM, free some, or choose a shorter --context.")});
  } else if (report.need_bf16 > machine.available_bytes) {
    findings.push_back({false, absl::StrCat("It fits only with --dense-dtype int8: BF16 needs ",
                                            Size(report.need_bf16), ", ",
                                            Size(machine.available_bytes), " are available.")});
  }
  return report;
}

// Decode is bound by reading the weights once per token.
double DecodeRoof(const Footprint& f, double gb_per_s) {
  return gb_per_s * 1e9 / f.read_per_token();
}

// 0 where it cannot be measured.
double MeasuredBandwidth() {
  WorkerTeam team;
  const auto roofline = MeasureRoofline(team);
  return roofline.ok() ? roofline->read_gb_per_s : 0;
}

Json MachineJson(const Machine& m) {
  Json nodes = Json::array();
  for (const MachineNode& n : m.nodes)
    nodes.push_back({{"node", n.os_index}, {"cores", n.cores}, {"memory_bytes", n.memory_bytes}});
  return {{"cpu", m.cpu.brand},
          {"isa", Describe(m.cpu)},
          {"expert_kernels", KernelNames(/*runnable_only=*/true)},
          {"sockets", m.sockets},
          {"cores", m.cores},
          {"hardware_threads", m.hardware_threads},
          {"l3_bytes", m.l3_bytes},
          {"memory_bytes", m.memory_bytes},
          {"available_bytes", m.available_bytes},
          {"transparent_huge_pages", m.transparent_huge_pages},
          {"numa_nodes", std::move(nodes)}};
}

Json FootprintJson(const Footprint& f, int64_t need) {
  return {{"need_bytes", need},
          {"routed_expert_bytes", f.routed_bytes},
          {"dense_bytes", f.dense_bytes},
          {"embedding_bytes", f.embedding_bytes},
          {"kv_bytes_per_token", f.kv_bytes_per_token},
          {"read_bytes_per_token", f.read_per_token()}};
}

void PrintGpus() {
  const GpuQuery query = QueryGpus();
  if (!query.built_with_cuda) {
    std::printf("gpu        not looked for: this build has no CUDA\n");
  } else if (query.gpus.empty()) {
    std::printf("gpu        none%s%s\n", query.problem.empty() ? "" : ": ", query.problem.c_str());
  }
  for (const GpuInfo& gpu : query.gpus) {
    std::printf("gpu        %s, sm_%d%d, %s, %s free\n", gpu.name.c_str(), gpu.compute_major,
                gpu.compute_minor, Size(gpu.memory_bytes).c_str(), Size(gpu.free_bytes).c_str());
  }
}

void PrintMachine(const Machine& m, double gb_per_s) {
  std::printf("cpu        %s\n", m.cpu.brand.c_str());
  std::printf("isa        %s\n", Describe(m.cpu).c_str());
  std::printf("kernels    %s (best first)\n", absl::StrJoin(KernelNames(true), ", ").c_str());
  std::printf("cores      %d physical, %d hardware threads, %d socket(s), %zu NUMA node(s)\n",
              m.cores, m.hardware_threads, m.sockets, m.nodes.size());
  std::printf("memory     %s, %s available, huge pages: %s\n", Size(m.memory_bytes).c_str(),
              Size(m.available_bytes).c_str(), m.transparent_huge_pages.c_str());
  PrintGpus();
  if (gb_per_s > 0) std::printf("bandwidth  %.1f GB/s measured, all cores reading\n", gb_per_s);
}

void PrintModel(const DoctorOptions& options, const ModelReport& r, double gb_per_s) {
  std::printf("\nmodel      %s\n", options.model.c_str());
  std::printf("experts    %s, INT4%s\n", Size(r.bf16.routed_bytes).c_str(),
              r.packed_shards == 0
                  ? ""
                  : absl::StrFormat(", packed in %d shard(s)", r.packed_shards).c_str());
  std::printf("dense      %s as BF16, %s as INT8\n",
              Size(r.bf16.dense_bytes + r.bf16.embedding_bytes).c_str(),
              Size(r.int8.dense_bytes + r.int8.embedding_bytes).c_str());
  std::printf("cache      %s for %lld tokens\n",
              Size(r.bf16.kv_bytes_per_token * r.context).c_str(),
              static_cast<long long>(r.context));
  std::printf("in all     %s with BF16, %s with INT8\n", Size(r.need_bf16).c_str(),
              Size(r.need_int8).c_str());
  if (gb_per_s > 0) {
    std::printf(
        "decode     at most %.2f tok/s with BF16, %.2f tok/s with INT8 (weights read once a "
        "token)\n",
        DecodeRoof(r.bf16, gb_per_s), DecodeRoof(r.int8, gb_per_s));
  }
}

absl::Status Calibrate(const DoctorOptions& options) {
  DoctorCalibration calibration{.weight_bits = options.weight_bits};
  if (!options.model.empty()) {
    TANDEM_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(options.model));
    calibration.shape = config.shape;
    calibration.disk_path = LargestFile(options.model);
  }
  return CalibrateThisMachine(calibration);
}

int Doctor(const DoctorOptions& options) {
  if (options.calibrate)
    if (const absl::Status status = Calibrate(options); !status.ok()) return Fail(status);
  const Machine machine = MachineHere();
  std::vector<Finding> findings;
  CheckSetup(machine, findings);

  ModelReport report;
  const bool have_model = !options.model.empty();
  if (have_model) {
    auto examined = Examine(options, machine, findings);
    if (examined.ok())
      report = *examined;
    else
      findings.push_back({true, std::string(examined.status().message())});
  }
  const bool readable = report.need_bf16 > 0;
  const double gb_per_s = options.measure ? MeasuredBandwidth() : 0;

  bool fatal = false;
  for (const Finding& f : findings) fatal |= f.fatal;
  if (options.json) {
    Json json{{"machine", MachineJson(machine)}, {"rates", RatesJson(machine)}};
    if (gb_per_s > 0) json["read_gb_per_s"] = gb_per_s;
    if (readable) {
      json["model"] = {{"bf16", FootprintJson(report.bf16, report.need_bf16)},
                       {"int8", FootprintJson(report.int8, report.need_int8)},
                       {"packed_shards", report.packed_shards}};
    }
    json["findings"] = Json::array();
    for (const Finding& f : findings)
      json["findings"].push_back({{"fatal", f.fatal}, {"text", f.text}});
    json["ok"] = !fatal;
    std::cout << json.dump(2) << "\n";
    return fatal ? 1 : 0;
  }
  PrintMachine(machine, gb_per_s);
  if (readable) PrintModel(options, report, gb_per_s);
  PrintRates(machine);
  std::printf("\n");
  for (const Finding& f : findings)
    std::printf("%s %s\n", f.fatal ? "PROBLEM:" : "note:", f.text.c_str());
  if (have_model && !fatal) std::printf("It will run here.\n");
  if (!have_model && findings.empty()) std::printf("Nothing is set up wrong.\n");
  return fatal ? 1 : 0;
}

}  // namespace

void AddDoctor(Commands& commands) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* sub =
      commands.Add("doctor", "what this machine is, and whether MODEL will run on it",
                   "  tandem doctor\n  tandem doctor /models/kimi-k2.6 --context 131072\n"
                   "  tandem doctor /models/kimi-k2.6 --calibrate");
  sub->add_option("model", options->model, "checkpoint folder to examine")->type_name("MODEL");
  sub->add_option("--context", options->context,
                  "tokens of cache to plan for; default: the model's most, up to 32768")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  sub->add_flag("!--no-measure", options->measure,
                "do not measure the memory bandwidth (a second)");
  sub->add_flag("--calibrate", options->calibrate,
                "measure what plans are made from, for MODEL (default: Kimi K2.6 and a small one), "
                "and keep it in $TANDEM_CACHE or ~/.cache/tandem; up to a minute");
  sub->add_option("--weight-bits", options->weight_bits,
                  "with --calibrate: of the dense side, 16 (BF16), 8 (INT8) or both")
      ->delimiter(',')
      ->check(CLI::IsMember({16, 8}))
      ->capture_default_str();
  sub->add_flag("--json", options->json, "machine-readable");
  commands.OnRun(sub, [options] { return Doctor(*options); });
}

}  // namespace tandem
