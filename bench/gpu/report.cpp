#include "bench/gpu/report.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tandem {
namespace {

constexpr char kSeparator = '\x1f';
constexpr size_t kTexts = 3, kNumbers = 9;

double MemoryUs(const GpuBenchRow& row, const GpuRoofs& roofs) {
  return roofs.memory_gb_per_s > 0 ? row.bytes / roofs.memory_gb_per_s * 1e-3 : 0;
}
double TensorUs(const GpuBenchRow& row, const GpuRoofs& roofs) {
  return roofs.tensor_tflop_per_s > 0 ? row.flops / roofs.tensor_tflop_per_s * 1e-6 : 0;
}
bool ByMemory(const GpuBenchRow& row, const GpuRoofs& roofs) {
  return row.flops == 0 || MemoryUs(row, roofs) >= TensorUs(row, roofs);
}

std::string Goal(const GpuBenchRow& row, const GpuRoofs& roofs, bool judge) {
  std::string text;
  bool met = true;
  if (row.goal_percent > 0) {
    text = absl::StrFormat("goal: %.0f %% or more", row.goal_percent);
    met = PercentOfRoof(row, roofs) >= row.goal_percent;
  } else if (row.goal_us > 0) {
    text = absl::StrFormat("goal: %.0f us or less", row.goal_us);
    met = row.us <= row.goal_us;
  } else if (row.goal_gb_per_s > 0) {
    text = absl::StrFormat("goal: %.0f GB/s or more", row.goal_gb_per_s);
    met = row.gb_per_s() >= row.goal_gb_per_s;
  }
  if (text.empty() || !judge) return text;
  return absl::StrCat(text, met ? ", met" : ", MISSED");
}

}  // namespace

GpuRoofs RoofsOf(const std::vector<GpuBenchRow>& rows) {
  GpuRoofs roofs;
  for (const GpuBenchRow& row : rows) {
    if (row.what == kMemoryRoofRow)
      roofs.memory_gb_per_s = std::max(roofs.memory_gb_per_s, row.gb_per_s());
    if (row.what == kTensorRoofRow)
      roofs.tensor_tflop_per_s = std::max(roofs.tensor_tflop_per_s, row.tflop_per_s());
  }
  return roofs;
}

double PercentOfRoof(const GpuBenchRow& row, const GpuRoofs& roofs) {
  if (!row.on_device || row.us <= 0) return 0;
  return 100 * std::max(MemoryUs(row, roofs), TensorUs(row, roofs)) / row.us;
}

std::string ToText(const GpuBenchRow& row, const GpuRoofs& roofs, bool judge) {
  std::string line = absl::StrFormat("%-33s %-46s %10.1f us  %21s", row.what, row.shape, row.us,
                                     absl::StrFormat("(%.1f..%.1f)", row.low_us, row.high_us));
  const bool by_memory = ByMemory(row, roofs);
  if (row.bytes == 0 && row.flops == 0) {
    absl::StrAppend(&line, absl::StrFormat(" %16s %14s", "", ""));
  } else {
    absl::StrAppend(&line, by_memory ? absl::StrFormat(" %8.1f GB/s   ", row.gb_per_s())
                                     : absl::StrFormat(" %8.1f TFLOP/s", row.tflop_per_s()));
    const double percent = PercentOfRoof(row, roofs);
    absl::StrAppend(&line, percent > 0 ? absl::StrFormat(" %5.1f %% %-6s", percent,
                                                         by_memory ? "memory" : "tensor")
                                       : absl::StrFormat(" %14s", ""));
  }
  for (const std::string& text : {Goal(row, roofs, judge), row.note})
    if (!text.empty()) absl::StrAppend(&line, "  ", text);
  while (line.back() == ' ') line.pop_back();
  return line;
}

std::string JsonString(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return json + '"';
}

std::string ToJson(const GpuBenchRow& row, const GpuRoofs& roofs) {
  return absl::StrFormat(
      "{\"what\": %s, \"shape\": %s, \"us\": %.3f, \"low_us\": %.3f, \"high_us\": %.3f, "
      "\"bytes\": %.0f, \"flops\": %.0f, \"gb_per_s\": %.2f, \"tflop_per_s\": %.2f, "
      "\"percent_of_roof\": %.2f, \"goal_percent\": %.1f, \"goal_us\": %.1f, "
      "\"goal_gb_per_s\": %.1f, \"note\": %s}",
      JsonString(row.what), JsonString(row.shape), row.us, row.low_us, row.high_us, row.bytes,
      row.flops, row.gb_per_s(), row.tflop_per_s(), PercentOfRoof(row, roofs), row.goal_percent,
      row.goal_us, row.goal_gb_per_s, JsonString(row.note));
}

std::string Pack(const GpuBenchRow& row) {
  std::string line = absl::StrCat(row.what, std::string(1, kSeparator), row.shape,
                                  std::string(1, kSeparator), row.note);
  for (const double number :
       {row.us, row.low_us, row.high_us, row.bytes, row.flops, row.on_device ? 1.0 : 0.0,
        row.goal_percent, row.goal_us, row.goal_gb_per_s})
    absl::StrAppend(&line, std::string(1, kSeparator), absl::StrFormat("%.17g", number));
  return line;
}

absl::StatusOr<GpuBenchRow> Unpack(const std::string& line) {
  std::vector<std::string> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(kSeparator, begin), line.size());
    fields.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  if (fields.size() != kTexts + kNumbers) {
    return absl::InvalidArgumentError(absl::StrCat("a row of a bench has ", fields.size(),
                                                   " fields, expected ", kTexts + kNumbers));
  }
  const auto number = [&](size_t i) { return std::strtod(fields[kTexts + i].c_str(), nullptr); };
  GpuBenchRow row;
  row.what = fields[0], row.shape = fields[1], row.note = fields[2];
  row.us = number(0), row.low_us = number(1), row.high_us = number(2);
  row.bytes = number(3), row.flops = number(4), row.on_device = number(5) != 0;
  row.goal_percent = number(6), row.goal_us = number(7), row.goal_gb_per_s = number(8);
  return row;
}

}  // namespace tandem
