#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <limits>

#include "absl/strings/str_cat.h"
#include "placement/identity_proto.h"
#include "placement/routing_trace.h"
#include "placement/step_routing.h"
#include "placement/trace_format.h"

namespace tandem {
namespace {

class FileTraceWriter final : public TraceWriter {
 public:
  FileTraceWriter(const std::string& path, const ModelIdentity& model)
      : path_(path),
        unfinished_(absl::StrCat(path, ".", getpid(), ".part")),
        model_(model),
        step_(model) {}

  // Without Finish() there is no file.
  ~FileTraceWriter() override {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(unfinished_.c_str());
  }

  absl::Status Open() {
    file_ = std::fopen(unfinished_.c_str(), "wb");
    if (file_ == nullptr) return Failed("cannot be written", errno);
    std::string start = kTraceMagic;
    Append(start, kTraceVersion);
    Write(start);
    placement::ModelIdentity identity;
    ToProto(model_, identity);
    WriteBlock(identity.SerializeAsString());
    return status_;
  }

  void BeginStep(std::span<const RoutedRow> rows) override { step_.Begin(rows); }
  void Routed(LayerId layer, int32_t first_row, View<const int32_t, 2> expert_ids,
              View<const float, 2> weights) override {
    step_.Add(layer, first_row, expert_ids, weights);
  }

  void EndStep() override {
    if (!step_.Finish()) return LogDroppedStep("routing trace", ++dropped_, step_.problem());
    if (step_.rows().empty() || step_.rows().size() > kMaxTraceRows) return;
    block_.clear();
    Append(block_, static_cast<uint32_t>(step_.rows().size()));
    for (const RoutedRow& row : step_.rows()) {
      Append(block_, static_cast<uint32_t>(row.sequence));
      Append(block_, row.phase);
    }
    block_.append(reinterpret_cast<const char*>(step_.ids().data()), step_.ids().size_bytes());
    WriteBlock(block_);
    ++steps_;
  }

  absl::Status Finish() override {
    std::string end;
    Append(end, uint32_t{0});
    Append(end, steps_);
    WriteBlock(end);
    if (status_.ok() && (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0))
      status_ = Failed("writing failed", errno);
    if (std::fclose(file_) != 0 && status_.ok()) status_ = Failed("writing failed", errno);
    file_ = nullptr;
    if (status_.ok() && std::rename(unfinished_.c_str(), path_.c_str()) != 0)
      status_ = Failed("cannot be written", errno);
    if (!status_.ok()) std::remove(unfinished_.c_str());
    return status_;
  }

 private:
  absl::Status Failed(const char* what, int error) const {
    return absl::UnavailableError(absl::StrCat(path_, ": ", what, ": ", std::strerror(error)));
  }

  void WriteBlock(const std::string& block) {
    std::string header;
    Append(header, TraceBlockHeader{static_cast<uint32_t>(block.size()),
                                    XXH32(block.data(), block.size(), 0)});
    Write(header);
    Write(block);
  }

  void Write(const std::string& bytes) {
    if (!status_.ok()) return;
    if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
      status_ = Failed("writing failed", errno);
  }

  const std::string path_, unfinished_;
  const ModelIdentity model_;
  std::FILE* file_ = nullptr;
  absl::Status status_;
  StepRouting step_;
  std::string block_;
  uint32_t steps_ = 0;
  int64_t dropped_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TraceWriter>> TraceWriter::Create(const std::string& path,
                                                                 const ModelIdentity& model) {
  auto writer = std::make_unique<FileTraceWriter>(path, model);
  TANDEM_RETURN_IF_ERROR(writer->Open());
  return writer;
}

}  // namespace tandem
