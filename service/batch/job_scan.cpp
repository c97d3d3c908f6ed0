#include "service/batch/job_scan.h"

#include <algorithm>
#include <limits>
#include <string>

#include "service/batch/line_hash.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPrefixBytes[] = {256, 1024, 4096, 16384};

// What of a body comes first in its prompt, about: tools, then messages.
std::string PromptText(const Json& body) {
  std::string text;
  for (const char* key : {"tools", "messages", "prompt"}) {
    const auto found = body.find(key);
    if (found == body.end()) continue;
    text += found->is_string() ? found->get_ref<const std::string&>()
                               : found->dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return text;
}

uint32_t Clamped(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
}

uint64_t Number(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found != body.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

void Measure(const JobLine& line, JobItem& item) {
  const std::string prompt = PromptText(line.body);
  item.prompt_bytes = Clamped(prompt.size());
  for (size_t i = 0; i < item.prefix.size(); ++i)
    item.prefix[i] =
        static_cast<uint32_t>(LineHash(std::string_view(prompt).substr(0, kPrefixBytes[i])));
  if (line.url == "/tokenize") {
    item.max_tokens = 1;  // next to nothing
    return;
  }
  uint64_t tokens = Number(line.body, "max_completion_tokens");
  if (tokens == 0) tokens = Number(line.body, "max_tokens");
  const uint64_t n = std::clamp<uint64_t>(Number(line.body, "n"), 1, 1024);
  item.max_tokens = Clamped(std::min<uint64_t>(tokens, uint64_t{1} << 40) * n);
}

}  // namespace

void JobScan::Feed(std::string_view block) {
  while (!block.empty()) {
    const size_t end = block.find('\n');
    Keep(block.substr(0, end));
    if (end == std::string_view::npos) return;
    EndLine();
    block.remove_prefix(end + 1);
  }
}

void JobScan::Finish() {
  if (line_bytes_ > 0) EndLine();
}

void JobScan::Keep(std::string_view part) {
  line_bytes_ += static_cast<int64_t>(part.size());
  const size_t most = static_cast<size_t>(limits_.max_message_bytes) + 1;
  line_.append(part.substr(0, most - std::min(most, line_.size())));
}

void JobScan::EndLine() {
  std::string_view text = line_;
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (!IsBlank(text)) {
    JobItem item = Read(text);
    item.index = all_items_++;
    if (options_.shard.Has(item.index)) items_.push_back(item);
  }
  offset_ += line_bytes_ + 1;
  ++line_number_;
  line_bytes_ = 0;
  line_.clear();
}

JobItem JobScan::Read(std::string_view text) {
  JobItem item = {.offset = offset_, .line = line_number_, .hash = LineHash(text)};
  item.bytes = Clamped(text.size());
  item.too_long = line_bytes_ > limits_.max_message_bytes + 1 ||
                  static_cast<int64_t>(text.size()) > limits_.max_message_bytes;
  item.malformed = true;
  if (item.too_long) return item;
  const JobLine line = ParseJobLine(text, limits_, options_.endpoint);
  if (!line.error.ok()) return item;
  item.malformed = false;
  const auto [first, is_new] =
      lines_of_ids_.try_emplace(IdHash(line.custom_id), Clamped(line_number_));
  if (!is_new) item.duplicate_of = first->second;
  Measure(line, item);
  return item;
}

}  // namespace tandem
