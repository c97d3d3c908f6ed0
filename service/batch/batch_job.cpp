#include "service/batch/batch_job.h"

#include <sys/stat.h>

#include <atomic>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/batch/batch_order.h"
#include "service/batch/batch_runner.h"
#include "service/batch/job_file.h"
#include "service/batch/result_store.h"

namespace tandem {
namespace {

bool SameFile(const std::string& a, const std::string& b) {
  struct stat of_a, of_b;
  return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

JobIdentity IdentityOf(const ServiceContext& service, const BatchOptions& options,
                       const JobFile& input) {
  return {.input_fingerprint = input.fingerprint(),
          .input_bytes = input.bytes(),
          .all_items = input.all_items(),
          .shard = options.shard,
          .ordered = options.ordered,
          .endpoint = options.endpoint,
          .model = options.any_model ? "" : service.model_name,
          .answered_by = options.answered_by};
}

// Places in JobFile::items() of those that the store does not have.
std::vector<uint32_t> PlacesLeft(const JobFile& input, const Shard& shard,
                                 const ResultStore& store) {
  std::vector<bool> done(input.items().size());
  for (const int64_t item : store.done_items()) done[item / shard.of] = true;
  std::vector<uint32_t> left;
  for (size_t place = 0; place < done.size(); ++place)
    if (!done[place]) left.push_back(static_cast<uint32_t>(place));
  return left;
}

BatchSize SizeOf(const JobFile& input, const std::vector<uint32_t>& places) {
  BatchSize size = {.requests = std::ssize(places)};
  for (const uint32_t place : places) {
    const JobItem& item = input.items()[place];
    if (item.malformed || item.duplicate_of != 0) continue;
    size.prompt_tokens += PromptTokensOf(item);
    size.max_tokens += item.max_tokens;
    size.unbounded += item.max_tokens == 0;
  }
  return size;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BatchJob>> BatchJob::Open(const ServiceContext& service,
                                                         const BatchOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(
      JobFile input,
      JobFile::Scan({options.input_path, options.shard, options.endpoint}, service.limits));
  if (SameFile(options.input_path, options.output_path))
    return absl::InvalidArgumentError(
        absl::StrCat(options.output_path, " is the input; choose another output"));
  TANDEM_ASSIGN_OR_RETURN(
      auto store, ResultStore::Open(options.output_path, IdentityOf(service, options, input)));
  std::vector<uint32_t> left = PlacesLeft(input, options.shard, *store);
  const BatchSize size = SizeOf(input, left);
  left = ChooseOrder(input.items(), std::move(left));
  return std::make_unique<BatchRunner>(service, options, std::move(input), std::move(store),
                                       std::move(left), size);
}

}  // namespace tandem
