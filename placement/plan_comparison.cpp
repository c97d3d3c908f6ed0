// Several plans side by side.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "placement/plan_report.h"
#include "placement/plan_words.h"

namespace tandem {
namespace {

// 24 + 4 x 19 = 100
constexpr int kNameWidth = 24, kColumnWidth = 19;
constexpr size_t kColumns = 4;  // in a block

class Table {
 public:
  explicit Table(std::span<const PlanReport> reports) : reports_(reports) {}

  template <class Cell>
  void Row(const std::string& name, const Cell& cell) {
    absl::StrAppendFormat(&text_, "%-*s", kNameWidth, name);
    for (const PlanReport& report : reports_) {
      std::string value = cell(report);
      if (value.size() > kColumnWidth - 1)
        value = absl::StrCat(value.substr(0, kColumnWidth - 3), "..");
      absl::StrAppendFormat(&text_, "%*s", kColumnWidth, value);
    }
    text_ += '\n';
  }
  std::string Take() { return std::move(text_); }

 private:
  std::span<const PlanReport> reports_;
  std::string text_;
};

int64_t BytesOf(const Plan& plan, const std::string& place) {
  int64_t bytes = 0;
  for (const BudgetLine& line : plan.budget)
    if (line.place.starts_with(place)) bytes += line.bytes;
  return bytes;
}

std::string Gb(int64_t bytes) {
  return bytes == 0 ? "-" : absl::StrFormat("%.1f GB", bytes * 1e-9);
}
std::string Number(double value, const char* format) {
  return value > 0 ? absl::StrFormat(absl::ParsedFormat<'f'>(format), value) : "-";
}

const RatePoint* Find(const Plan& plan, int32_t batch, int64_t context) {
  for (const RatePoint& point : plan.rates_at)
    if (point.context == context && (batch == 0 || point.batch == batch)) return &point;
  return nullptr;
}

std::string Block(std::span<const PlanReport> reports) {
  Table table(reports);
  table.Row("machine", [](const auto& r) { return r.plan.machine; });
  table.Row("profile",
            [](const auto& r) { return r.profile_name.empty() ? "none" : r.profile_name; });
  table.Row("context x sequences", [](const auto& r) {
    return absl::StrCat(Grouped(r.plan.goals.context), " x ", r.plan.goals.concurrency);
  });
  table.Row("GPU memory", [](const auto& r) { return Gb(BytesOf(r.plan, "gpu")); });
  table.Row("RAM", [](const auto& r) { return Gb(BytesOf(r.plan, "node")); });
  table.Row("disk", [](const auto& r) { return Gb(BytesOf(r.plan, "disk")); });
  table.Row("hot experts", [](const auto& r) { return Grouped(r.plan.hot_experts()); });
  table.Row("hit rate, decode", [](const auto& r) {
    return absl::StrFormat("%.1f %%%s", 100 * r.plan.decode_hit_rate,
                           r.plan.hit_rate_held_out ? " held out" : "");
  });
  table.Row("roof on paper, tok/s",
            [](const auto& r) { return Number(RoofsOf(r.shape, r.machine).ram_paper, "%.1f"); });
  table.Row("streams from, tokens", [](const auto& r) {
    return r.plan.prefill.stream ? Grouped(r.plan.prefill.break_even_tokens) : "-";
  });
  std::set<std::pair<int64_t, int32_t>> points;
  std::set<int64_t> contexts;
  for (const PlanReport& report : reports) {
    for (const RatePoint& point : report.plan.rates_at) {
      points.insert({point.context, point.batch});
      contexts.insert(point.context);
    }
  }
  for (const auto& [context, batch] : points) {
    table.Row(absl::StrCat("decode ", batch, " at ", Grouped(context)), [&](const auto& r) {
      const RatePoint* point = Find(r.plan, batch, context);
      return Number(point ? point->decode_tok_per_s : 0, "%.1f tok/s");
    });
  }
  for (const int64_t context : contexts) {
    table.Row(absl::StrCat("prompt of ", Grouped(context)), [&](const auto& r) {
      const RatePoint* point = Find(r.plan, 0, context);
      return Number(point ? point->prefill_tok_per_s : 0, "%.0f tok/s");
    });
  }
  table.Row("decode waits for", [](const auto& r) {
    return r.plan.rates_at.empty() ? "-" : r.plan.rates_at.front().decode.limit;
  });
  table.Row("prompts wait for", [](const auto& r) {
    return r.plan.rates_at.empty() ? "-" : r.plan.rates_at.back().prefill.limit;
  });
  return table.Take();
}

}  // namespace

std::string ComparisonText(std::span<const PlanReport> reports) {
  std::string text;
  for (size_t i = 0; i < reports.size(); i += kColumns) {
    if (i > 0) text += '\n';
    text += Block(reports.subspan(i, std::min(kColumns, reports.size() - i)));
  }
  return text;
}

}  // namespace tandem
