#include "service/access/caller.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {
namespace {

using Header = std::function<std::optional<std::string>(std::string_view)>;

constexpr size_t kMaxIdBytes = 64;

absl::Status Bad(absl::string_view header, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("header ", header, " is \"", value.substr(0, kMaxIdBytes),
                   value.size() > kMaxIdBytes ? "..." : "", "\"; expected ", expected));
}

bool IsIdByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
         std::string_view("._:/@-").find(c) != std::string_view::npos;
}

absl::Status ReadId(const Header& header, const char* name, std::string& to) {
  std::optional<std::string> value = header(name);
  if (!value) return absl::OkStatus();
  if (value->empty() || value->size() > kMaxIdBytes || !std::ranges::all_of(*value, IsIdByte)) {
    return Bad(name, "",
               absl::StrCat("1 to ", kMaxIdBytes, " bytes of letters, digits and ._:/@-"));
  }
  to = *std::move(value);
  return absl::OkStatus();
}

absl::Status ReadPriority(const Header& header, Priority& to) {
  const std::optional<std::string> value = header("tandem-priority");
  if (!value) return absl::OkStatus();
  if (*value == "interactive") {
    to = Priority::kInteractive;
  } else if (*value == "normal") {
    to = Priority::kNormal;
  } else if (*value == "batch") {
    to = Priority::kBatch;
  } else {
    return Bad("tandem-priority", *value, "interactive, normal or batch");
  }
  return absl::OkStatus();
}

absl::Status ReadDeadline(const Header& header,
                          std::optional<std::chrono::steady_clock::time_point>& to) {
  constexpr int64_t kMaxMs = int64_t{7} * 24 * 3600 * 1000;
  const std::optional<std::string> value = header("tandem-deadline-ms");
  if (!value) return absl::OkStatus();
  int64_t ms = 0;
  if (!absl::SimpleAtoi(*value, &ms) || ms < 1 || ms > kMaxMs)
    return Bad("tandem-deadline-ms", *value, absl::StrCat("1 to ", kMaxMs, " milliseconds"));
  to = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  return absl::OkStatus();
}

absl::Status ReadBudget(const Header& header, std::optional<TaskBudget>& to) {
  constexpr char kName[] = "tandem-budget";
  constexpr char kExpected[] =
      "a list such as agents=300, steps=4000, tokens=1000000, each 1 or more and at most once";
  const std::optional<std::string> value = header(kName);
  if (!value) return absl::OkStatus();
  TaskBudget budget;
  std::vector<absl::string_view> seen;
  for (absl::string_view entry : absl::StrSplit(*value, ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(parts.first);
    int64_t number = 0;
    if (!absl::SimpleAtoi(parts.second, &number) || number < 1 ||
        std::ranges::find(seen, name) != seen.end()) {
      return Bad(kName, *value, kExpected);
    }
    seen.push_back(name);
    if (name == "tokens") {
      budget.tokens = number;
    } else if (number > INT32_MAX) {
      return Bad(kName, *value, kExpected);
    } else if (name == "agents") {
      budget.agents = static_cast<int32_t>(number);
    } else if (name == "steps") {
      budget.steps = static_cast<int32_t>(number);
    } else {
      return Bad(kName, *value, kExpected);
    }
  }
  to = budget;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RequestTags> ParseRequestTags(const Header& header) {
  RequestTags tags;
  TANDEM_RETURN_IF_ERROR(ReadPriority(header, tags.priority));
  TANDEM_RETURN_IF_ERROR(ReadDeadline(header, tags.deadline));
  TANDEM_RETURN_IF_ERROR(ReadBudget(header, tags.budget));
  TANDEM_RETURN_IF_ERROR(ReadId(header, "tandem-label", tags.label));
  TANDEM_RETURN_IF_ERROR(ReadId(header, "tandem-task", tags.task));
  TANDEM_RETURN_IF_ERROR(ReadId(header, "tandem-agent", tags.agent));
  TANDEM_RETURN_IF_ERROR(ReadId(header, "tandem-parent", tags.parent));
  if (tags.task.empty() && (!tags.agent.empty() || !tags.parent.empty() || tags.budget)) {
    return absl::InvalidArgumentError(
        "header tandem-task is missing; expected it with tandem-agent, tandem-parent and "
        "tandem-budget");
  }
  if (!tags.parent.empty() && tags.parent == tags.agent)
    return Bad("tandem-parent", tags.parent, "another agent than tandem-agent");
  return tags;
}

}  // namespace tandem
