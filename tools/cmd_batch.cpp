// tandem batch: a file of requests worked off to a file of results, each exactly once.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/memory.h"
#include "engine/checkpoint/progress.h"
#include "placement/replace_file.h"
#include "service/batch/batch_report.h"
#include "tools/batch_display.h"
#include "tools/batch_forecast.h"
#include "tools/command.h"
#include "tools/engine_flags.h"
#include "tools/interrupts.h"
#include "tools/local_service.h"
#include "tools/serve_flags.h"

namespace tandem {
namespace {

// Nobody waits for the next token: large prompts' chunks and many sequences.
constexpr int kStepTokens = 2048, kSequences = 256;

struct Options {
  EngineFlags engine;
  std::string input, output, report, shard = "1/1";
  bool ordered = false, json = false;
  bool no_thinking_default = false, no_normalise = false;
  double drain_s = 30;
  int in_flight = 0;
};

// An eighth more than are computed at once wait, so that no place stays empty.
int32_t WithSomeWaiting(int32_t sequences) { return sequences + std::max(1, sequences / 8); }

int32_t MostInFlight(const Options& options) {
  return options.in_flight > 0 ? options.in_flight : WithSomeWaiting(options.engine.max_sequences);
}

PromptPolicy Policy(const Options& options) {
  return {.normalise_volatile = !options.no_normalise,
          .thinking_default = !options.no_thinking_default};
}

absl::StatusOr<BatchOptions> JobOptions(const Options& options, const Engine& engine) {
  BatchOptions job = {.input_path = options.input,
                      .output_path = options.output,
                      .ordered = options.ordered,
                      .any_model = true,
                      .max_in_flight = MostInFlight(options),
                      .answered_by = absl::StrCat(Describe(engine.identity()), "; ",
                                                  AnswerSettings(options.engine, Policy(options))),
                      .caller = {.name = "", .admin = true}};
  TANDEM_ASSIGN_OR_RETURN(job.shard, Shard::Parse(options.shard));
  return job;
}

// The first Ctrl-C stops the batch in order, the second one at once: what is not kept by then is
// run again.
class StopOnInterrupt {
 public:
  StopOnInterrupt(BatchJob& job, double drain_s) : job_(job), drain_s_(drain_s) {}

 private:
  BatchJob& job_;
  const double drain_s_;
  Interrupts interrupts_{[this](int count) {
    if (count > 1) std::_Exit(130);
    LogInfo("stopping; requests in flight have {} s to end (Ctrl-C again: at once)", drain_s_);
    job_.Stop(std::chrono::milliseconds(static_cast<int64_t>(drain_s_ * 1000)));
  }};
};

absl::Status WriteReport(const std::string& path, const BatchReport& report) {
  return path.empty() ? absl::OkStatus() : ReplaceFile(path, report.ToJson() + "\n");
}

void TellStart(const Options& options, const BatchJob& job,
               const std::optional<BatchPrediction>& forecast) {
  if (options.engine.quiet || options.json) return;
  const BatchProgress progress = job.progress();
  const BatchSize size = job.size();
  std::string text = absl::StrCat(
      "batch    ", size.requests, " of ", progress.requests, " requests to do, about ",
      size.prompt_tokens, " tokens of prompts and at most ", size.max_tokens, " of answers");
  if (size.unbounded > 0) absl::StrAppend(&text, ", ", size.unbounded, " without a limit");
  if (forecast) {
    absl::StrAppend(&text, "; by the plan ", DurationText(forecast->total_s()), " at most, ",
                    forecast->sequences, " at a time");
  }
  std::fprintf(stderr, "%s\n", text.c_str());
}

// Exit code: 0 all done, 1 something of the world failed, 130 interrupted.
int Finish(const Options& options, const absl::Status& ran, BatchReport report) {
  report.peak_rss_bytes = ReadResidentMemory().peak_bytes;
  const bool tells = !options.engine.quiet && !options.json;
  if (tells) std::fputs(report.ToText().c_str(), stdout);
  const absl::Status written = WriteReport(options.report, report);
  if (!ran.ok()) return Fail(ran);
  if (!written.ok()) return Fail(written);
  if (report.progress.state == BatchState::kDone) return 0;
  if (tells) {
    std::fprintf(stderr,
                 "stopped: %lld of %lld requests are done and kept; the same command goes on\n",
                 static_cast<long long>(report.progress.done),
                 static_cast<long long>(report.progress.requests));
  }
  return 130;
}

int RunJob(const Options& options, const StartPlan& start, const EngineOptions& engine_options,
           Engine& engine) {
  const auto job_options = JobOptions(options, engine);
  if (!job_options.ok()) return Fail(job_options.status());
  const LocalService service(engine, ModelNameOf(options.engine.model), Policy(options),
                             job_options->max_in_flight + 64);
  auto job = BatchJob::Open(service.context(), *job_options);
  if (!job.ok()) return Fail(job.status());
  const auto forecast = ForecastBatch((*job)->size(), start, engine_options, engine);
  const int32_t in_flight = forecast && options.in_flight == 0
                                ? WithSomeWaiting(forecast->sequences)
                                : job_options->max_in_flight;
  (*job)->SetInFlight(in_flight);
  TellStart(options, **job, forecast);
  BatchMeter meter(engine, /*coverage=*/!options.report.empty());
  absl::Status ran;
  {
    const StopOnInterrupt stop(**job, options.drain_s);
    BatchDisplay display(**job, meter,
                         options.json           ? BatchDisplay::As::kJson
                         : options.engine.quiet ? BatchDisplay::As::kNothing
                                                : BatchDisplay::As::kText);
    ran = (*job)->Run();
  }
  return Finish(options, ran,
                {.progress = (*job)->progress(),
                 .measures = meter.Measure(),
                 .engine = engine.description(),
                 .max_in_flight = in_flight,
                 .predicted_s = forecast ? forecast->total_s() : 0});
}

// Before minutes of loading.
absl::Status CheckReadable(const std::string& path) {
  if (access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
}

int Batch(Options options) {
  options.engine.quiet |= options.json;
  if (const auto shard = Shard::Parse(options.shard); !shard.ok()) {
    Fail(shard.status());
    return 2;
  }
  if (const auto status = CheckReadable(options.input); !status.ok()) return Fail(status);
  EngineOptions engine_options = options.engine.ToOptions();
  engine_options.max_queue = std::max(engine_options.max_queue, MostInFlight(options));
  const auto start = PlanForStart(options.engine.plan, engine_options);
  if (!start.ok()) return Fail(start.status());
  if (start->obeyed) engine_options.plan = start->plan;
  if (start->plan && !options.engine.quiet) std::fputs(PlanSummary(*start).c_str(), stderr);
  auto engine = Engine::Create(engine_options);
  if (!engine.ok()) return Fail(engine.status());
  return RunJob(options, *start, engine_options, **engine);
}

}  // namespace

void AddBatch(Commands& commands) {
  auto options = std::make_shared<Options>();
  options->engine.max_step_tokens = kStepTokens;
  options->engine.max_sequences = kSequences;
  commands.Group("batch", "work off a file of requests, each exactly once; merge shards", "run");
  CLI::App* sub = commands.AddTo(
      "batch", "run", "answer the requests of IN.jsonl (OpenAI's batch format) into -o OUT.jsonl",
      "  tandem batch MODEL in.jsonl -o out.jsonl\n"
      "  tandem batch MODEL in.jsonl -o out.jsonl        the same again: goes on where it was\n"
      "  tandem batch MODEL in.jsonl -o out.jsonl --ordered --report report.json\n"
      "  tandem batch MODEL in.jsonl -o part2.jsonl --shard 2/8     on each of eight machines\n"
      "  tandem batch merge -o out.jsonl part*.jsonl\n"
      "  A line: {\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", "
      "\"body\": {...}}\n"
      "  Failed requests are lines with an error, and no failure of the command. Exit codes: 0 "
      "all\n"
      "  done, 1 the world failed, 2 wrong usage, 130 stopped by Ctrl-C (docs/batch.md)");
  options->engine.AddTo(sub);
  options->engine.AddPlanTo(sub);
  sub->add_option("input", options->input, "requests, one a line")
      ->type_name("IN.jsonl")
      ->required();
  sub->add_option("-o,--output", options->output,
                  "results, one a line; OUT.jsonl.journal beside it says what is done")
      ->type_name("OUT.jsonl")
      ->required();
  sub->add_flag("--ordered", options->ordered,
                "results in the input's order, all at the end; else as they are finished");
  sub->add_option("--shard", options->shard,
                  "I/N: only requests whose number, from 0, leaves I - 1 when divided by N")
      ->capture_default_str();
  sub->add_option(
         "--in-flight", options->in_flight,
         "most sequences given to the engine at once; 0: as many as pay by the plan, and an eighth")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  sub->add_option("--drain", options->drain_s,
                  "after Ctrl-C, seconds that requests in flight have to end")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  sub->add_flag("--no-thinking-default", options->no_thinking_default,
                "answer without thinking unless a request asks for it");
  sub->add_flag("--no-normalise", options->no_normalise,
                "leave fields that agents change with every request as they are");
  sub->add_option("--report", options->report,
                  "write rates, batch sizes, times and expert coverage to this file, as JSON");
  sub->add_flag("--json", options->json, "progress as JSON lines on stdout, nothing else");
  commands.OnRun(sub, [options] { return Batch(*options); });
}

}  // namespace tandem
