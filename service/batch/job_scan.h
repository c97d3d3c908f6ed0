// The bytes of a batch's input -> its items.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "service/batch/job_file.h"
#include "service/batch/job_line.h"

namespace tandem {

class JobScan {
 public:
  // Adds to `items`. All three outlive the object.
  JobScan(const JobFileOptions& options, const Limits& limits, std::vector<JobItem>& items)
      : options_(options), limits_(limits), items_(items) {}

  void Feed(std::string_view block);
  void Finish();  // behind the last block
  int64_t all_items() const { return all_items_; }

 private:
  void Keep(std::string_view part);
  void EndLine();
  JobItem Read(std::string_view text);

  const JobFileOptions& options_;
  const Limits& limits_;
  std::vector<JobItem>& items_;
  std::string line_;        // of the one that is being read, as much as is kept
  int64_t line_bytes_ = 0;  // of all of it
  int64_t offset_ = 0;      // of its beginning
  int64_t line_number_ = 1;
  int64_t all_items_ = 0;
  absl::flat_hash_map<absl::uint128, uint32_t> lines_of_ids_;  // by IdHash()
};

}  // namespace tandem
