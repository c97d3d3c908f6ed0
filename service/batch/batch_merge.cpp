#include "service/batch/batch_merge.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "service/batch/journal.h"
#include "service/batch/ordered_copy.h"

namespace tandem {
namespace {

absl::Status Differs(const std::string& a, const std::string& b, const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat(b, " is not of the same batch as ", a, ": ", what, " differs"));
}

absl::Status CheckTogether(const std::string& a, const JobIdentity& of_a, const std::string& b,
                           const JobIdentity& of_b) {
  if (of_a.input_fingerprint != of_b.input_fingerprint) return Differs(a, b, "the input");
  if (of_a.shard.of != of_b.shard.of) return Differs(a, b, "the number of shards");
  if (of_a.answered_by != of_b.answered_by || of_a.model != of_b.model)
    return Differs(a, b, "what answered it");
  if (of_a.endpoint != of_b.endpoint) return Differs(a, b, "the endpoint");
  if (of_a.shard == of_b.shard) {
    return absl::FailedPreconditionError(
        absl::StrCat(a, " and ", b, " are both shard ", of_a.shard.ToText()));
  }
  return absl::OkStatus();
}

// REQUIRES: no two are the same shard.
absl::Status CheckAllThere(const std::vector<std::unique_ptr<Journal>>& shards) {
  const Shard& first = shards.front()->identity().shard;
  for (int32_t index = 1; index <= first.of; ++index) {
    const auto is_it = [index](const auto& s) { return s->identity().shard.index == index; };
    if (std::ranges::none_of(shards, is_it)) {
      return absl::FailedPreconditionError(
          absl::StrCat("shard ", Shard{index, first.of}.ToText(), " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Journal>> OpenFinished(const std::string& output) {
  TANDEM_ASSIGN_OR_RETURN(auto journal, Journal::OpenExisting(JournalPath(output)));
  TANDEM_ASSIGN_OR_RETURN(const bool finished, journal->finished());
  if (finished) return journal;
  return absl::FailedPreconditionError(absl::StrCat(
      output, ": shard ", journal->identity().shard.ToText(), " is not finished; run it again"));
}

}  // namespace

absl::StatusOr<MergedBatch> MergeShards(const std::vector<std::string>& outputs,
                                        const std::string& merged_path) {
  if (outputs.empty()) return absl::InvalidArgumentError("there is no shard to merge");
  if (access(merged_path.c_str(), F_OK) == 0)
    return absl::AlreadyExistsError(absl::StrCat(merged_path, " exists"));
  std::vector<std::unique_ptr<Journal>> shards;
  std::vector<ResultSource> sources;
  for (const std::string& output : outputs) {
    if (std::ranges::count(outputs, output) > 1)
      return absl::FailedPreconditionError(absl::StrCat(output, " is named twice"));
    TANDEM_ASSIGN_OR_RETURN(auto journal, OpenFinished(output));
    for (size_t i = 0; i < shards.size(); ++i)
      TANDEM_RETURN_IF_ERROR(
          CheckTogether(outputs[i], shards[i]->identity(), output, journal->identity()));
    sources.push_back({journal.get(), output, journal->identity().ordered});
    shards.push_back(std::move(journal));
  }
  TANDEM_RETURN_IF_ERROR(CheckAllThere(shards));
  MergedBatch merged;
  TANDEM_RETURN_IF_ERROR(CopyInOrder(sources, merged_path, [&](const DoneItem& item) {
    if (item.item != merged.requests)
      return absl::DataLossError(absl::StrCat("request ", merged.requests, " has no result"));
    ++merged.requests;
    merged.failed += !item.code.empty();
    return absl::OkStatus();
  }));
  if (merged.requests == shards.front()->identity().all_items) return merged;
  unlink(merged_path.c_str());
  return absl::DataLossError(absl::StrCat("there are ", merged.requests, " results of ",
                                          shards.front()->identity().all_items, " requests"));
}

}  // namespace tandem
