#include "placement/routing_trace.h"

#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "placement/identity_proto.h"
#include "placement/profile_file.h"
#include "placement/trace_format.h"

namespace tandem {
namespace {

class TraceReader {
 public:
  explicit TraceReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {}

  absl::StatusOr<RoutingTrace> Read() {
    TANDEM_RETURN_IF_ERROR(ReadStart());
    RoutingTrace trace{.model = model_, .steps = {}};
    while (true) {
      where_ = absl::StrCat("step ", trace.steps.size());
      TANDEM_ASSIGN_OR_RETURN(std::optional<TraceStep> step, ReadStep(trace.steps.size()));
      if (!step) break;
      trace.steps.push_back(*std::move(step));
    }
    if (file_.peek() != std::ifstream::traits_type::eof())
      return Damaged("more follows behind its end");
    return trace;
  }

 private:
  absl::Status ReadStart() {
    std::error_code ignored;
    if (!file_ || std::filesystem::is_directory(path_, ignored))
      return absl::NotFoundError(absl::StrCat(path_, ": no such trace file, or it cannot be read"));
    file_bytes_ = static_cast<int64_t>(std::filesystem::file_size(path_, ignored));
    if (file_bytes_ == 0) return absl::DataLossError(absl::StrCat(path_, ": the file is empty"));
    const std::string magic = kTraceMagic;
    std::string found(magic.size(), '\0');
    file_.read(found.data(), std::ssize(found));
    found.resize(file_.gcount());
    if (found != magic) return OtherFile(found);
    uint32_t version = 0;
    if (!Take(version)) return Damaged("it is cut short");
    if (version != kTraceVersion) {
      return absl::FailedPreconditionError(absl::StrCat(path_, ": the trace has version ", version,
                                                        ", this program reads ", kTraceVersion,
                                                        ": make it anew"));
    }
    TANDEM_RETURN_IF_ERROR(ReadBlock());
    placement::ModelIdentity identity;
    if (!identity.ParseFromString(block_)) return Damaged("the model's identity cannot be parsed");
    model_ = FromProto(identity);
    const absl::Status sound = CheckProfileModel(model_);
    return sound.ok() ? sound : Damaged(sound.message());
  }

  absl::Status OtherFile(const std::string& start) const {
    constexpr char kTandem[] = "TANDEM\n";
    if (std::string(kTraceMagic).starts_with(start))
      return absl::DataLossError(absl::StrCat(path_, ": the file is cut short"));
    if (!start.starts_with(kTandem))
      return absl::InvalidArgumentError(absl::StrCat(path_, ": this is no trace of Tandem"));
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": this is another file of Tandem, not a trace"));
  }

  // None: that was the end.
  absl::StatusOr<std::optional<TraceStep>> ReadStep(size_t steps_before) {
    TANDEM_RETURN_IF_ERROR(ReadBlock());
    size_t at = 0;
    if (std::ssize(block_) < kTraceEndBytes) return Damaged("its block is too short");
    const auto rows = TakeAt<uint32_t>(block_, at);
    if (rows == 0) {
      const auto steps = TakeAt<uint32_t>(block_, at);
      if (std::ssize(block_) != kTraceEndBytes || steps != steps_before)
        return Damaged(absl::StrCat("the file ends here, but should hold ", steps, " steps"));
      return std::nullopt;
    }
    if (rows > kMaxTraceRows || std::ssize(block_) != TraceStepBytes(model_, rows))
      return Damaged(absl::StrCat("a block of ", block_.size(), " bytes for ", rows, " rows"));
    TraceStep step;
    for (uint32_t row = 0; row < rows; ++row) {
      const auto sequence = TakeAt<uint32_t>(block_, at);
      const auto phase = TakeAt<uint8_t>(block_, at);
      if (phase >= kPhases) return Damaged(absl::StrCat("phase ", phase));
      step.rows.push_back({sequence, static_cast<Phase>(phase)});
    }
    step.ids.resize((block_.size() - at) / sizeof(uint16_t));
    std::memcpy(step.ids.data(), block_.data() + at, block_.size() - at);
    if (const auto worst = std::max_element(step.ids.begin(), step.ids.end());
        *worst >= model_.experts) {
      return Damaged(absl::StrCat("expert ", *worst, " of ", model_.experts));
    }
    return step;
  }

  absl::Status ReadBlock() {
    TraceBlockHeader header;
    if (!Take(header)) return Damaged("it is cut short");
    if (header.bytes > file_bytes_ - file_.tellg()) return Damaged("it is cut short");
    block_.resize(header.bytes);
    if (!file_.read(block_.data(), header.bytes)) return Damaged("it is cut short");
    if (XXH32(block_.data(), block_.size(), 0) != header.hash)
      return Damaged("it is damaged (checksum)");
    return absl::OkStatus();
  }

  template <class T>
  bool Take(T& value) {
    return static_cast<bool>(file_.read(reinterpret_cast<char*>(&value), sizeof value));
  }

  absl::Status Damaged(absl::string_view how) const {
    return absl::DataLossError(absl::StrCat(path_, ": ", where_, ": ", how));
  }

  const std::string path_;
  std::ifstream file_;
  int64_t file_bytes_ = 0;
  ModelIdentity model_;
  std::string where_ = "the trace's start", block_;
};

}  // namespace

int64_t RoutingTrace::tokens() const {
  int64_t sum = 0;
  for (const TraceStep& step : steps) sum += std::ssize(step.rows);
  return sum;
}

absl::StatusOr<RoutingTrace> ReadRoutingTrace(const std::string& path) {
  return TraceReader(path).Read();
}

}  // namespace tandem
