// tandem batch merge: the results of a batch's shards as one file.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "service/batch/batch_merge.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  std::string output;
  std::vector<std::string> shards;
};

int Merge(const Options& options) {
  const auto merged = MergeShards(options.shards, options.output);
  if (!merged.ok()) return Fail(merged.status());
  std::printf("%s: %lld results, %lld of them failed\n", options.output.c_str(),
              static_cast<long long>(merged->requests), static_cast<long long>(merged->failed));
  return 0;
}

}  // namespace

void AddBatchMerge(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo(
      "batch", "merge", "the results of all shards of a batch as one file, in the input's order",
      "  tandem batch merge -o out.jsonl part1.jsonl part2.jsonl     with their journals beside "
      "them");
  sub->add_option("-o,--output", options->output, "the merged results")
      ->type_name("OUT.jsonl")
      ->required();
  sub->add_option("shards", options->shards, "outputs of `tandem batch --shard`")
      ->type_name("SHARD.jsonl")
      ->required();
  commands.OnRun(sub, [options] { return Merge(*options); });
}

}  // namespace tandem
