// tandem profile merge: several recordings of one model become one.
#include <cstdio>

#include "placement/profile_file.h"
#include "placement/profile_merge.h"
#include "tools/command.h"

namespace tandem {
namespace {

struct Options {
  std::vector<std::string> inputs;
  std::string output;
};

absl::Status Merge(const Options& options) {
  TANDEM_ASSIGN_OR_RETURN(ExpertProfile merged, ReadProfile(options.inputs.front()));
  for (size_t i = 1; i < options.inputs.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const ExpertProfile next, ReadProfile(options.inputs[i]));
    TANDEM_RETURN_IF_ERROR(
        CheckSameModel("profile " + options.inputs[i], next.model, merged.model));
    TANDEM_ASSIGN_OR_RETURN(merged, MergeProfiles(merged, next));
  }
  TANDEM_RETURN_IF_ERROR(WriteProfile(options.output, merged));
  std::printf("%s: %lld tokens, %zu labels\n", options.output.c_str(),
              static_cast<long long>(merged.tokens()), merged.labels.size());
  return absl::OkStatus();
}

}  // namespace

void AddProfileMerge(Commands& commands) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = commands.AddTo("profile", "merge", "add up profiles of one model",
                                 "  tandem profile merge mon.profile tue.profile -o week.profile");
  sub->add_option("profiles", options->inputs)->required()->expected(1, 1 << 16);
  sub->add_option("-o,--output", options->output, "the profile to write")->required();
  commands.OnRun(sub, [options] {
    const absl::Status status = Merge(*options);
    return status.ok() ? 0 : Fail(status);
  });
}

}  // namespace tandem
