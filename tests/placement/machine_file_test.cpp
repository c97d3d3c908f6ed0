#include "placement/machine_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_replace.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSmall[] = R"({
  "name": "small",
  "cpu": {"brand": "a CPU", "isa": "avx2 avx512"},
  "nodes": [{"os_index": 0, "cores": 4, "memory_gib": 32, "peak_gb_per_s": 80.5},
            {"os_index": 1, "cores": 4, "memory_gib": 32}],
  "gpu": {"name": "RTX 3090", "memory_gib": 24},
  "rates": {"expert_gops": 900.25,
            "experts": [{"hidden": 64, "intermediate": 32, "call_s": 1e-6,
                         "points": [{"rows": 1, "seconds": 1e-6}, {"rows": 8, "seconds": 3e-6}]}],
            "dense": [{"hidden": 64, "heads": 4, "vocab": 99, "weight_bits": 8,
                       "points": [{"rows": 1, "attention_s": 0.25}]}]}
})";

// kSmall with one text in place of another.
std::string With(const std::string& from, const std::string& to) {
  EXPECT_THAT(kSmall, HasSubstr(from));
  return absl::StrReplaceAll(kSmall, {{from, to}});
}

std::string Refusal(const std::string& json) {
  const auto machine = ParseMachine(json, "m.json");
  EXPECT_EQ(machine.status().code(), absl::StatusCode::kInvalidArgument) << machine.status();
  return std::string(machine.status().message());
}

TEST(MachineFile, ReadsWhatIsSaidAndCompletesTheRest) {
  const auto m = ParseMachine(kSmall, "m.json");
  ASSERT_TRUE(m.ok()) << m.status();
  EXPECT_EQ(m->name, "small");
  EXPECT_TRUE(m->cpu.avx512);
  EXPECT_FALSE(m->cpu.amx_int8);
  EXPECT_EQ(m->cores, 8);
  EXPECT_EQ(m->memory_bytes, int64_t{64} << 30);
  EXPECT_EQ(m->available_bytes, m->memory_bytes);
  EXPECT_EQ(m->nodes[1].os_index, 1);
  EXPECT_DOUBLE_EQ(m->peak_gb_per_s(), 80.5);
  EXPECT_EQ(m->gpu->memory_bytes, int64_t{24} << 30);
  EXPECT_EQ(m->rates.source, MachineRates::Source::kSpecified);
  EXPECT_EQ(m->rates.FindExperts(64, 32)->points[1].rows, 8);
  EXPECT_EQ(m->rates.dense[0].key.weight_bits, 8);
  EXPECT_EQ(m->rates.dense[0].points[0].attention_s, 0.25);
}

TEST(MachineFile, RoundTrip) {
  auto m = ParseMachine(kSmall, "m.json");
  ASSERT_TRUE(m.ok()) << m.status();
  m->rates.experts[0].points[0].seconds = 0.1 + 0.2;  // not a short decimal
  m->nodes[0].memory_bytes += 4097;
  const std::string json = MachineToJson(*m);
  const auto again = ParseMachine(json, "again.json");
  ASSERT_TRUE(again.ok()) << again.status() << json;
  EXPECT_EQ(MachineToJson(*again), json);
  EXPECT_EQ(again->nodes[0].memory_bytes, m->nodes[0].memory_bytes);
  EXPECT_EQ(again->rates.experts[0].points[0].seconds, 0.1 + 0.2);
  EXPECT_EQ(again->rates.dense[0].key, m->rates.dense[0].key);
}

TEST(MachineFile, ThisMachineRoundTrips) {
  Machine machine = DetectMachine();
  GuessRates(machine);
  const auto again = ParseMachine(MachineToJson(machine), "this.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->cores, machine.cores);
  EXPECT_EQ(again->memory_bytes, machine.memory_bytes);
  EXPECT_EQ(Describe(again->cpu), Describe(machine.cpu));
  EXPECT_EQ(again->rates.source, MachineRates::Source::kGuessed);
}

TEST(MachineFile, TopologyInsteadOfNodes) {
  const auto m = ParseMachine(
      R"({"name": "t", "topology": "pack:2 numa:1 core:6 pu:2", "node_memory_gib": 100,
          "node_peak_gb_per_s": 300, "node_read_gb_per_s": 250})",
      "t.json");
  ASSERT_TRUE(m.ok()) << m.status();
  ASSERT_EQ(m->nodes.size(), 2u);
  EXPECT_EQ(m->sockets, 2);
  EXPECT_EQ(m->cores, 12);
  EXPECT_EQ(m->hardware_threads, 24);
  EXPECT_EQ(m->memory_bytes, int64_t{200} << 30);
  EXPECT_EQ(m->read_gb_per_s(), 500);
}

TEST(MachineFile, RefusesWithFileKeyExpectedAndFound) {
  EXPECT_EQ(
      Refusal(With("\"cores\": 4, \"memory_gib\": 32}", "\"cores\": -4, \"memory_gib\": 32}")),
      "m.json: nodes[1].cores: expected a whole number from 0 to 4096, found -4");
  EXPECT_EQ(Refusal(With("80.5", "\"fast\"")),
            "m.json: nodes[0].peak_gb_per_s: expected a number from 0 to 100000, found \"fast\"");
  EXPECT_EQ(
      Refusal(With("80.5", "1e12")),
      "m.json: nodes[0].peak_gb_per_s: expected a number from 0 to 100000, found 1000000000000.0");
  EXPECT_THAT(Refusal(With("\"cores\": 4, \"memory_gib\": 32}", "\"cores\": 4.5}")),
              HasSubstr("nodes[1].cores: expected a whole number"));
  EXPECT_THAT(
      Refusal(With("\"expert_gops\"", "\"expert_gop\"")),
      AllOf(HasSubstr("m.json: rates.expert_gop: expected no such key"), HasSubstr("expert_gops")));
  EXPECT_THAT(Refusal(With("avx2 avx512", "avx2 avx9")),
              AllOf(HasSubstr("cpu.isa: expected some of avx2"), HasSubstr("\"avx9\"")));
  EXPECT_THAT(Refusal(With("\"os_index\": 1", "\"os_index\": 0")), HasSubstr("different os_index"));
  EXPECT_THAT(Refusal(With("\"rows\": 8", "\"rows\": 1")),
              HasSubstr("rates.experts[0].points: expected rows that begin with 1 and ascend"));
  EXPECT_THAT(Refusal(With("\"rows\": 1, \"seconds\"", "\"rows\": 2, \"seconds\"")),
              HasSubstr("rates.experts[0].points"));
  EXPECT_THAT(Refusal(With("\"name\": \"RTX 3090\", ", "")),
              HasSubstr("gpu.name: expected the name of the GPU, found none"));
  EXPECT_THAT(Refusal(With("\"expert_gops\": 900.25", "\"source\": \"believed\"")),
              HasSubstr("rates.source: expected \"specified\""));
  EXPECT_EQ(Refusal(With("\"name\": \"small\",", "")), "m.json: name: expected a name, found none");
  EXPECT_THAT(Refusal(R"({"name": "x"})"), HasSubstr("m.json: nodes: expected a node or more"));
  EXPECT_THAT(Refusal(R"({"name": "x", "nodes": 3})"),
              HasSubstr("m.json: nodes: expected an array of objects, found 3"));
  EXPECT_THAT(Refusal(R"({"name": "x", "nodes": [7]})"),
              HasSubstr("m.json: nodes[0]: expected an object, found 7"));
  EXPECT_THAT(Refusal(R"({"name": "x", "topology": "numa:x"})"),
              HasSubstr("m.json: topology: expected an hwloc synthetic description"));
  EXPECT_THAT(Refusal(R"({"name": "x", "cores": 9, "nodes": [{"cores": 8, "memory_gib": 1}]})"),
              HasSubstr("m.json: cores: expected from 1 to the nodes' 8, found 9"));
  EXPECT_THAT(Refusal(R"({"name": "x", "nodes": [{"cores": 8}]})"), HasSubstr("memory_gib"));
  EXPECT_THAT(Refusal("{\"name\": "), HasSubstr("m.json: not JSON at byte 10 of 9"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("m.json: expected a JSON object, found []"));
  EXPECT_THAT(Refusal(""), HasSubstr("m.json: not JSON"));
}

TEST(ShippedMachines, AllAreThereParseAndRoundTrip) {
  const std::vector<std::string> names = ShippedMachines();
  for (const char* expected :
       {"spr-2s-h100", "emr-2s-h100", "turin-1s-4090", "turin-1s-h100", "turin-2s-pro6000",
        "xeon6-2s-mrdimm-h100", "spr-1s-4090", "spr-1s-pro6000"})
    EXPECT_THAT(names, Contains(expected));
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const auto m = LoadMachine(name);
    ASSERT_TRUE(m.ok()) << m.status();
    EXPECT_EQ(m->name, name);
    EXPECT_EQ(m->id, "");
    EXPECT_THAT(m->notes, HasSubstr("Paper figures"));
    EXPECT_NEAR(m->read_gb_per_s(), 0.85 * m->peak_gb_per_s(), 0.1);
    EXPECT_EQ(m->rates.source, MachineRates::Source::kSpecified);
    EXPECT_GT(m->rates.expert_gops, 0);
    ASSERT_TRUE(m->gpu.has_value());
    EXPECT_GT(m->gpu->hbm_gb_per_s, 500);
    EXPECT_GT(m->gpu->pcie_gb_per_s, m->gpu->pcie_beside_cpu_gb_per_s);
    const auto again = ParseMachine(MachineToJson(*m), name);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(MachineToJson(*again), MachineToJson(*m));
  }
}

TEST(ShippedMachines, SapphireRapidsIsWhatThePlansArePromisedFor) {
  const auto m = LoadMachine("spr-2s-h100");
  ASSERT_TRUE(m.ok()) << m.status();
  EXPECT_EQ(m->nodes.size(), 2u);
  EXPECT_DOUBLE_EQ(m->peak_gb_per_s(), 614.4);
  EXPECT_EQ(m->memory_bytes, int64_t{1536} << 30);
  EXPECT_NEAR(m->gpu->hbm_gb_per_s, 2700, 150);
}

TEST(LoadMachine, AFileASyntheticStringOrASentence) {
  const std::string path = ::testing::TempDir() + "machine_" + std::to_string(getpid()) + ".json";
  std::ofstream(path) << kSmall;
  const auto file = LoadMachine(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_GT(file->rates.dispatch_us, 0);  // guessed
  EXPECT_NEAR(file->gpu->hbm_gb_per_s, 936 * 0.82, 1);
  std::ofstream(path) << "{}";
  EXPECT_THAT(std::string(LoadMachine(path).status().message()), HasSubstr(path));
  std::filesystem::remove(path);

  const auto synthetic = LoadMachine("numa:2 core:48 pu:2");
  ASSERT_TRUE(synthetic.ok()) << synthetic.status();
  EXPECT_EQ(synthetic->cores, 96);
  EXPECT_EQ(synthetic->memory_bytes, int64_t{1} << 40);
  EXPECT_EQ(synthetic->rates.source, MachineRates::Source::kGuessed);
  EXPECT_THAT(synthetic->notes, HasSubstr("guesses"));
  const auto with_memory = LoadMachine("numa:2(memory=64GB) core:4 pu:1");
  ASSERT_TRUE(with_memory.ok()) << with_memory.status();
  EXPECT_LT(with_memory->memory_bytes, int64_t{130} << 30);

  EXPECT_THAT(std::string(LoadMachine("numa:two").status().message()), HasSubstr("\"numa:two\""));
  const absl::Status unknown = LoadMachine("cray-1").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()),
              AllOf(HasSubstr("\"cray-1\""), HasSubstr("spr-2s-h100")));
}

TEST(GuessGpuRates, CardsByTheirDriversNames) {
  const auto guess = [](const std::string& name) {
    GpuSpec spec{.name = name};
    GuessGpuRates(spec);
    return spec;
  };
  EXPECT_NEAR(guess("NVIDIA H100 80GB HBM3").hbm_gb_per_s, 2750, 60);
  EXPECT_NEAR(guess("NVIDIA H100 PCIe").hbm_gb_per_s, 1670, 60);
  EXPECT_NEAR(guess("NVIDIA H200").hbm_gb_per_s, 3936, 60);
  EXPECT_NEAR(guess("NVIDIA A100-SXM4-80GB").hbm_gb_per_s, 1672, 60);
  EXPECT_NEAR(guess("NVIDIA A100-SXM4-40GB").hbm_gb_per_s, 1275, 60);
  EXPECT_NEAR(guess("NVIDIA GeForce RTX 4090").pcie_gb_per_s, 25, 1);
  EXPECT_NEAR(guess("NVIDIA GeForce RTX 5090").pcie_gb_per_s, 54, 1);
  EXPECT_NEAR(guess("NVIDIA RTX PRO 6000 Blackwell Workstation Edition").hbm_gb_per_s, 1469, 20);
  EXPECT_GT(guess("NVIDIA GeForce RTX 3090").bf16_tflops, 30);
  EXPECT_GT(guess("a card of tomorrow").hbm_gb_per_s, 0);
  GpuSpec known{.name = "NVIDIA H200", .hbm_gb_per_s = 4000};
  GuessGpuRates(known);
  EXPECT_EQ(known.hbm_gb_per_s, 4000);
}

class CalibrationCache : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "tandem_cache_" + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    setenv("TANDEM_CACHE", folder_.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("TANDEM_CACHE");
    std::filesystem::remove_all(folder_);
  }
  static Machine Calibrated(int32_t hidden) {
    Machine machine = ThisMachine();
    machine.rates = {.source = MachineRates::Source::kCalibrated, .when = "2026-03-01 12:00"};
    machine.rates.expert_gops = 321;
    machine.rates.experts = {{.hidden = hidden, .intermediate = 32, .points = {{1, 0.5}}}};
    DenseCurve dense{.key = {.hidden = hidden}, .points = {{.rows = 1, .attention_s = 0.25}}};
    machine.rates.dense = {dense};
    machine.nodes[0].read_gb_per_s = 41.5;
    return machine;
  }
  std::string folder_;
};

TEST_F(CalibrationCache, GuessesWithoutOne) {
  const Machine machine = ThisMachine();
  EXPECT_EQ(machine.rates.source, MachineRates::Source::kGuessed);
  EXPECT_GT(machine.read_gb_per_s(), 0);
  EXPECT_EQ(machine.id.size(), 16u);
  EXPECT_THAT(CalibrationPath(machine), HasSubstr(folder_));
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(CalibrationCache, SavedAndFoundAgain) {
  ASSERT_TRUE(SaveCalibration(Calibrated(64)).ok());
  const Machine machine = ThisMachine();
  EXPECT_EQ(machine.rates.source, MachineRates::Source::kCalibrated);
  EXPECT_EQ(machine.rates.when, "2026-03-01 12:00");
  EXPECT_EQ(machine.rates.expert_gops, 321);
  EXPECT_EQ(machine.nodes[0].read_gb_per_s, 41.5);
  ASSERT_NE(machine.rates.FindExperts(64, 32), nullptr);
  EXPECT_GT(machine.rates.disk_gb_per_s, 0);  // was not measured: guessed
}

TEST_F(CalibrationCache, CurvesOfOtherShapesStay) {
  Machine first = Calibrated(64);
  first.rates.disk_gb_per_s = 7.5;
  ASSERT_TRUE(SaveCalibration(first).ok());
  Machine other = Calibrated(96);
  other.rates.experts.push_back({.hidden = 64, .intermediate = 32, .points = {{1, 0.125}}});
  ASSERT_TRUE(SaveCalibration(other).ok());
  const Machine machine = ThisMachine();
  EXPECT_EQ(machine.rates.experts.size(), 2u);
  EXPECT_EQ(machine.rates.dense.size(), 2u);
  EXPECT_EQ(machine.rates.FindExperts(64, 32)->points[0].seconds, 0.125);  // the newer one
  EXPECT_EQ(machine.rates.disk_gb_per_s, 7.5);
}

TEST_F(CalibrationCache, IdIsOfTheHardwareAlone) {
  const std::string id = ThisMachine().id;
  EXPECT_EQ(ThisMachine().id, id);
  const GpuSpec gpu{.name = "NVIDIA H200"};
  EXPECT_NE(ThisMachine(gpu).id, id);
}

TEST_F(CalibrationCache, GpuRatesComeBackForTheSameCard) {
  GpuSpec gpu{.name = "NVIDIA H200", .memory_bytes = int64_t{140} << 30};
  Machine machine = ThisMachine(gpu);
  EXPECT_GT(machine.gpu->hbm_gb_per_s, 3000);  // guessed
  machine.gpu->hbm_gb_per_s = 1234;
  ASSERT_TRUE(SaveCalibration(machine).ok());
  EXPECT_EQ(ThisMachine(gpu).gpu->hbm_gb_per_s, 1234);
  EXPECT_FALSE(ThisMachine().gpu.has_value());
}

TEST_F(CalibrationCache, AMeasuredGpuStaysWhenOnlyTheCpuIsMeasured) {
  const GpuSpec gpu{.name = "NVIDIA H200", .memory_bytes = int64_t{140} << 30};
  Machine machine = ThisMachine(gpu);
  EXPECT_EQ(machine.gpu->measured, "");
  machine.gpu->handoff_us = 12.5;
  machine.gpu->measured = "2026-03-01 12:00";
  ASSERT_TRUE(SaveCalibration(machine).ok());
  machine.gpu = gpu;
  ASSERT_TRUE(SaveCalibration(machine).ok());
  EXPECT_EQ(ThisMachine(gpu).gpu->handoff_us, 12.5);
  EXPECT_EQ(ThisMachine(gpu).gpu->measured, "2026-03-01 12:00");
}

TEST_F(CalibrationCache, ADamagedFileIsNeitherUsedNorFatal) {
  ASSERT_TRUE(SaveCalibration(Calibrated(64)).ok());
  const std::string path = CalibrationPath(ThisMachine());
  std::ostringstream good;
  good << std::ifstream(path).rdbuf();
  const std::string text = good.str();
  for (const std::string& bad :
       {text.substr(0, text.size() / 2), std::string(), std::string("\0\xff garbage", 10),
        absl::StrReplaceAll(text, {{"\"version\": 1", "\"version\": 2"}}),
        absl::StrReplaceAll(text, {{"\"id\": \"", "\"id\": \"x"}}),
        absl::StrReplaceAll(text, {{"321", "-321"}}), absl::StrReplaceAll(text, {{"321", "1e400"}}),
        absl::StrReplaceAll(text, {{"\"rows\": 1", "\"rows\": 0"}})}) {
    ASSERT_NE(bad, text);
    std::ofstream(path, std::ios::binary) << bad;
    const Machine machine = ThisMachine();
    EXPECT_EQ(machine.rates.source, MachineRates::Source::kGuessed) << bad;
    EXPECT_TRUE(machine.rates.experts.empty()) << bad;
  }
  ASSERT_TRUE(SaveCalibration(Calibrated(96)).ok());  // over the damaged one
  EXPECT_EQ(ThisMachine().rates.source, MachineRates::Source::kCalibrated);
}

TEST_F(CalibrationCache, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream{folder_} << "in the way";
  const absl::Status status = SaveCalibration(Calibrated(64));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder_));
  EXPECT_EQ(ThisMachine().rates.source, MachineRates::Source::kGuessed);
}

}  // namespace
}  // namespace tandem
