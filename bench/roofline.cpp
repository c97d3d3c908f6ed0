#include "bench/roofline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/roofline_table.h"
#include "core/cpu_features.h"
#include "core/memory.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

constexpr const RooflineTable* kTables[] = {&kAvx512VnniRooflineTable, &kAvxVnniRooflineTable,
                                            &kAvx2RooflineTable};

// The first table this CPU runs that has `member`; null if there is none.
template <class Member>
const RooflineTable* BestWith(Member RooflineTable::*member) {
  for (const RooflineTable* table : kTables)
    if (DetectCpu().*table->required && table->*member != nullptr) return table;
  return nullptr;
}

// Bytes per second of every pass, sorted.
absl::StatusOr<std::vector<double>> ReadRates(WorkerTeam& team, const RooflineOptions& options) {
  constexpr int64_t kPieceBytes = 1 << 20;
  const int64_t pieces = std::max<int64_t>(options.buffer_bytes / kPieceBytes, 1);
  TANDEM_ASSIGN_OR_RETURN(NumaBuffer buffer, NumaBuffer::Allocate(pieces * kPieceBytes));
  auto* words = buffer.as<uint64_t>();
  const int64_t piece_words = kPieceBytes / 8;
  team.ParallelFor(pieces, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * piece_words; i < end * piece_words; ++i)
      words[i] = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u;
  });

  const RooflineTable* table = BestWith(&RooflineTable::read);
  std::atomic<uint64_t> proof{0};
  std::vector<double> rates;
  for (int pass = 0; pass < options.passes; ++pass) {
    const auto begin = Clock::now();
    team.ParallelFor(pieces, 4, [&](int64_t first, int64_t last, int) {
      proof ^= table->read(words + first * piece_words, (last - first) * kPieceBytes);
    });
    rates.push_back(pieces * kPieceBytes / Seconds(begin));
  }
  std::sort(rates.begin(), rates.end());
  return rates;
}

// Operations per second of all workers together, best of several tries.
double PeakRate(WorkerTeam& team, int64_t (*loop)(int64_t)) {
  double best = 0.0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    std::atomic<int64_t> operations{0};
    const auto begin = Clock::now();
    team.Run([&](int) { operations += loop(1 << 21); });
    best = std::max(best, operations / Seconds(begin));
  }
  return best;
}

}  // namespace

absl::StatusOr<Roofline> MeasureRoofline(WorkerTeam& team, const RooflineOptions& options) {
  const RooflineTable* int8 = BestWith(&RooflineTable::int8_dots);
  if (int8 == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("the roofline is measured with AVX2 or better; "
                     "this CPU has: ",
                     Describe(DetectCpu())));
  }
  Roofline roofline;
  roofline.isa = int8->name;
  roofline.threads = team.size();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<double> rates, ReadRates(team, options));
  roofline.read_gb_per_s = rates.back() * 1e-9;
  roofline.read_median_gb_per_s = rates[rates.size() / 2] * 1e-9;
  roofline.int8_gops = PeakRate(team, int8->int8_dots) * 1e-9;
  roofline.f32_gflops = PeakRate(team, BestWith(&RooflineTable::fmas)->fmas) * 1e-9;
  if (DetectCpu().amx_int8) roofline.tile_gops = PeakRate(team, kAmxRooflineTable.int8_dots) * 1e-9;
  return roofline;
}

void Roofline::TakeBest(const Roofline& other) {
  read_gb_per_s = std::max(read_gb_per_s, other.read_gb_per_s);
  read_median_gb_per_s = std::max(read_median_gb_per_s, other.read_median_gb_per_s);
  int8_gops = std::max(int8_gops, other.int8_gops);
  tile_gops = std::max(tile_gops, other.tile_gops);
  f32_gflops = std::max(f32_gflops, other.f32_gflops);
}

std::string Roofline::ToText() const {
  std::string text = absl::StrFormat(
      "roofline (%d threads, %s): read %.1f GB/s (median %.1f), int8 %.0f GOPS, f32 %.0f GFLOPS",
      threads, isa, read_gb_per_s, read_median_gb_per_s, int8_gops, f32_gflops);
  if (tile_gops > 0) absl::StrAppendFormat(&text, ", AMX int8 %.0f GOPS", tile_gops);
  return text;
}

std::string Roofline::ToJson() const {
  return nlohmann::json{{"isa", isa},
                        {"threads", threads},
                        {"read_gb_per_s", read_gb_per_s},
                        {"read_median_gb_per_s", read_median_gb_per_s},
                        {"int8_gops", int8_gops},
                        {"tile_gops", tile_gops},
                        {"f32_gflops", f32_gflops}}
      .dump();
}

}  // namespace tandem
