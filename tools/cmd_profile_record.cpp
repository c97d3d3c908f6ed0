// tandem profile record: prompts through a model in this process, or a while of a running server,
// into a profile of how its experts were used.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "placement/profile_file.h"
#include "placement/profile_merge.h"
#include "tools/command.h"
#include "tools/engine_flags.h"
#include "tools/prompt_file.h"
#include "tools/record_prompts.h"
#include "tools/record_server.h"
#include "tools/tokenize_lines.h"

namespace tandem {
namespace {

struct Options {
  EngineFlags engine;
  std::string prompts, output, server;
  double seconds = 60;
  bool append = false;
  RecordOptions record;
};

void ShowProgress(int64_t done, int64_t prompts) {
  if (isatty(STDERR_FILENO) == 0) return;
  std::fprintf(stderr, "\r%lld of %lld prompts%s", static_cast<long long>(done),
               static_cast<long long>(prompts), done == prompts ? "\n" : "");
}

absl::StatusOr<ExpertProfile> RecordHere(const Options& options) {
  EngineOptions engine_options = options.engine.ToOptions();
  engine_options.prefix_cache = false;  // every prompt counts, whatever it has in common
  TANDEM_ASSIGN_OR_RETURN(const auto engine, Engine::Create(engine_options));
  TANDEM_ASSIGN_OR_RETURN(const ChatStyle style,
                          ChatStyleOfFolder(options.engine.model, engine->tokenizer()));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Prompt> prompts,
                          ReadPrompts(options.prompts, engine->tokenizer(), style));
  return RecordPrompts(*engine, prompts, options.record);
}

absl::StatusOr<ExpertProfile> Record(const Options& options) {
  if (options.server.empty()) return RecordHere(options);
  return RecordServer({.address = options.server,
                       .seconds = options.seconds,
                       .label = options.record.label,
                       .trace_path = options.record.trace_path});
}

// Before anything is recorded: a recording that cannot be kept is time lost.
absl::Status CheckFolder(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  if (path.empty() || access(folder.c_str(), W_OK) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written: ", std::strerror(errno)));
}

// What is there already, for --append; read before anything is recorded, too.
absl::StatusOr<std::optional<ExpertProfile>> Existing(const Options& options) {
  if (!options.append || !std::filesystem::exists(options.output)) return std::nullopt;
  return ReadProfile(options.output);
}

absl::Status CheckUsage(const Options& options) {
  if (options.server.empty() && (options.engine.model.empty() || options.prompts.empty()))
    return absl::InvalidArgumentError("MODEL and --prompts are needed, or --server");
  if (!options.server.empty() && !(options.engine.model.empty() && options.prompts.empty()))
    return absl::InvalidArgumentError(
        "--server records what the server is asked: no MODEL, no --prompts");
  return absl::OkStatus();
}

int Run(const Options& options) {
  if (const absl::Status usage = CheckUsage(options); !usage.ok()) {
    Fail(usage);
    return 2;
  }
  for (const std::string& path : {options.output, options.record.trace_path})
    if (const absl::Status status = CheckFolder(path); !status.ok()) return Fail(status);
  const auto existing = Existing(options);
  if (!existing.ok()) return Fail(existing.status());
  absl::StatusOr<ExpertProfile> profile = Record(options);
  if (!profile.ok()) return Fail(profile.status());
  const int64_t tokens = profile->tokens();
  if (existing->has_value()) {
    profile = MergeProfiles(**existing, *profile);
    if (!profile.ok()) return Fail(profile.status());
  }
  if (const auto status = WriteProfile(options.output, *profile); !status.ok()) return Fail(status);
  std::printf("%s: %lld tokens recorded, %lld in all, %zu labels\n", options.output.c_str(),
              static_cast<long long>(tokens), static_cast<long long>(profile->tokens()),
              profile->labels.size());
  return 0;
}

}  // namespace

void AddProfileRecord(Commands& commands) {
  auto options = std::make_shared<Options>();
  options->engine.quiet = true;
  options->engine.takes_emulated = true;
  commands.Group("profile", "how a model's experts are used: record, merge, compare", "record");
  CLI::App* sub = commands.AddTo(
      "profile", "record", "let MODEL answer prompts, and count which experts it uses",
      "  tandem profile record MODEL --prompts code.jsonl --label code -o k2.profile\n"
      "  tandem profile record MODEL --prompts german.txt --label german -o k2.profile --append\n"
      "  tandem profile record --server 127.0.0.1:50051 --seconds 600 -o today.profile\n"
      "  tandem profile MODEL --prompts code.jsonl -o k2.profile             the same as record");
  options->engine.AddTo(sub, /*model_required=*/false);
  RecordOptions& record = options->record;
  sub->add_option("--prompts", options->prompts,
                  "a prompt a line: JSON with \"text\", \"messages\" or \"ids\", and perhaps "
                  "\"label\"; *.txt: texts");
  sub->add_option("-o,--output", options->output, "the profile to write")->required();
  sub->add_option("--label", record.label, "of prompts that have none");
  sub->add_option("--trace", record.trace_path, "write a routing trace as well");
  sub->add_flag("--append", options->append, "add to the profile if it exists");
  sub->add_option("--generate", record.generate, "tokens per answer, at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--temperature", record.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  sub->add_option("--seed", record.seed, "of the first prompt")->capture_default_str();
  sub->add_flag("--ignore-eos", record.ignore_eos, "go on past the model's end tokens");
  sub->add_option("--in-flight", record.in_flight, "prompts at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  sub->add_option("--server", options->server, "record what this server is asked")
      ->type_name("ADDR");
  sub->add_option("--seconds", options->seconds, "with --server: for so long")
      ->check(CLI::Range(0.0, 1e7))
      ->capture_default_str();
  record.on_progress = ShowProgress;
  commands.OnRun(sub, [options] { return Run(*options); });
}

}  // namespace tandem
