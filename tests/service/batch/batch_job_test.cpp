// Batches from their input to their output, over a scripted engine.
#include "service/batch/batch_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "service/batch/batch_meter.h"
#include "service/batch/batch_report.h"
#include "tests/service/batch/job_lines.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class BatchJobTest : public testing::Test {
 protected:
  BatchJobTest() { Script({}); }

  void Script(FakeEngine::Script script) {
    context_ = nullptr;
    engine_ = std::make_unique<FakeEngine>(std::move(script));
    constraints_ = ConstraintCompiler::Create(engine_->tokenizer(), engine_->config().eos_ids, {});
    context_ = std::unique_ptr<ServiceContext>(new ServiceContext{
        *engine_, gate_, *constraints_, limits_, intake_, writer_, "m", policy_});
  }
  // So many completions that end in their own prompt.
  void WriteMany(int n) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += CompletionLine(absl::StrCat("r", i), absl::StrCat("prompt ", i, " "));
    WriteFile(options_.input_path, text);
  }
  std::unique_ptr<BatchJob> Open() {
    auto job = BatchJob::Open(*context_, options_);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *std::move(job) : nullptr;
  }
  BatchProgress RunAll() {
    auto job = Open();
    const absl::Status ran = job->Run();
    EXPECT_TRUE(ran.ok()) << ran;
    EXPECT_EQ(job->progress().state, BatchState::kDone);
    return job->progress();
  }
  std::map<std::string, nlohmann::json> Results() const { return ResultsOf(options_.output_path); }
  static std::string TextOf(const nlohmann::json& result) {
    return result["response"]["body"]["choices"][0]["text"];
  }
  void ExpectManyAnswered(int n) const {
    const auto results = Results();
    EXPECT_EQ(results.size(), static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) {
      const auto found = results.find(absl::StrCat("r", i));
      ASSERT_NE(found, results.end()) << i;
      EXPECT_EQ(TextOf(found->second), absl::StrCat("prompt ", i, " "));
      EXPECT_TRUE(found->second["error"].is_null());
    }
  }

  TempDir dir_;
  BatchOptions options_ = {.input_path = dir_.File("in"),
                           .output_path = dir_.File("out"),
                           .any_model = true,
                           .max_in_flight = 16,
                           .answered_by = "a script"};
  Limits limits_;
  PromptPolicy policy_;
  Admission admission_{320};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  WorkQueue intake_{1}, writer_{1};
  std::unique_ptr<ServiceContext> context_;
};

TEST_F(BatchJobTest, AnswersEveryRequestOnce) {
  WriteMany(300);
  const BatchProgress progress = RunAll();
  EXPECT_EQ(progress.done, 300);
  EXPECT_EQ(progress.failed, 0);
  EXPECT_GT(progress.completion_tokens, 300);
  EXPECT_DOUBLE_EQ(progress.work_done, 1);
  ExpectManyAnswered(300);
}

TEST_F(BatchJobTest, AFinishedOneHasNothingToDo) {
  WriteMany(5);
  RunAll();
  const std::string before = ReadFile(options_.output_path);
  const auto job = Open();
  EXPECT_EQ(job->size().requests, 0);
  EXPECT_TRUE(job->Run().ok());
  EXPECT_EQ(job->progress().state, BatchState::kDone);
  EXPECT_EQ(job->progress().resumed, 5);
  EXPECT_EQ(ReadFile(options_.output_path), before);
}

TEST_F(BatchJobTest, KeepsNoMoreInFlightThanTold) {
  std::atomic<int> most = 0;
  Script({.answer =
              [&](const std::string& prompt) {
                most = std::max(most.load(), engine_->stats().running + 1);
                return prompt;
              },
          .step_time = 200us});
  WriteMany(100);
  RunAll();
  EXPECT_LE(most, 16 + 1) << "one may be on its way out of the engine";
  EXPECT_GE(most, 15) << "and no less";
}

TEST_F(BatchJobTest, EveryUrlIsAnswered) {
  Script({.answer = [](const std::string&) { return "fine"; }});
  WriteFile(
      options_.input_path,
      R"({"custom_id":"chat","method":"POST","url":"/v1/chat/completions","body":{"model":"x",)"
      R"("messages":[{"role":"user","content":"hello"}],"thinking":{"type":"disabled"}}})"
      "\n"
      R"({"custom_id":"count","method":"POST","url":"/tokenize","body":{"model":"x","prompt":"abc"}})"
      "\n"
      R"({"custom_id":"rendered","method":"POST","url":"/tokenize","body":{"messages":[)"
      R"({"role":"user","content":"hello"}]}})"
      "\n"
      R"({"custom_id":"two","method":"POST","url":"/v1/completions","body":{"model":"x",)"
      R"("prompt":["a","b"],"n":2,"max_tokens":8}})"
      "\n");
  RunAll();
  auto results = Results();
  const auto body = [&](const char* id) { return results[id]["response"]["body"]; };
  EXPECT_EQ(body("chat")["choices"][0]["message"]["content"], "fine") << results["chat"];
  EXPECT_EQ(body("chat")["object"], "chat.completion");
  EXPECT_EQ(body("count")["count"], 3);
  EXPECT_EQ(body("count")["tokens"], (std::vector<int>{'a', 'b', 'c'}));
  EXPECT_GT(body("rendered")["count"], 5);
  ASSERT_EQ(body("two")["choices"].size(), 4u) << results["two"];
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body("two")["choices"][i]["index"], i);
    EXPECT_EQ(body("two")["choices"][i]["text"], "fine");
  }
  for (const auto& [id, result] : results) {
    EXPECT_EQ(result["response"]["status_code"], 200);
    EXPECT_THAT(result["id"].get<std::string>(), testing::StartsWith("batch_req_"));
    EXPECT_THAT(result["response"]["request_id"].get<std::string>(), testing::StartsWith("req_"));
  }
}

TEST_F(BatchJobTest, BadRequestsAreLinesAndTheRestIsAnswered) {
  limits_.max_message_bytes = 4000;
  WriteFile(options_.input_path,
            "nonsense\n" + CompletionLine("good1", "x") + "\n" +
                CompletionLine("good1", "the same id") +
                CompletionLine("hot", "x", 5, R"(,"temperature":9)") +
                CompletionLine("stream", "x", 5, R"(,"stream":true)") +
                CompletionLine("unknown", "x", 5, R"(,"no_such_field":1)") +
                CompletionLine("long", std::string(5000, 'x')) +
                R"({"custom_id":"get","method":"GET","url":"/v1/completions","body":{}})" + "\n" +
                R"({"custom_id":"empty","method":"POST","url":"/v1/chat/completions","body":{}})" +
                "\n" + CompletionLine("good2", "y"));
  auto job = Open();
  ASSERT_TRUE(job->Run().ok());
  const BatchProgress progress = job->progress();
  EXPECT_EQ(progress.requests, 10);
  EXPECT_EQ(progress.done, 10);
  EXPECT_EQ(progress.failed, 8);
  EXPECT_EQ(progress.by_code.at("invalid_line"), 4);
  EXPECT_EQ(progress.by_code.at("invalid_request"), 4);

  std::map<std::string, nlohmann::json> by_line;
  int answered = 0;
  for (const std::string& line : LinesOf(options_.output_path)) {
    const nlohmann::json result = nlohmann::json::parse(line);
    answered += result["error"].is_null();
    if (result["error"].is_null()) continue;
    const std::string message = result["error"]["message"];
    by_line[message.substr(0, message.find(':'))] = result;
  }
  EXPECT_EQ(answered, 2);
  const auto expect = [&](const char* line, const char* id, const char* why) {
    ASSERT_TRUE(by_line.contains(line)) << line;
    const auto& result = by_line[line];
    EXPECT_THAT(result["error"]["message"].get<std::string>(), HasSubstr(why));
    EXPECT_EQ(result["custom_id"].is_null() ? "" : result["custom_id"], id) << result;
  };
  expect("line 1", "", "not valid JSON");
  expect("line 4", "good1", "custom_id is that of line 2");
  expect("line 5", "hot", "temperature");
  expect("line 6", "stream", "stream is true");
  expect("line 7", "unknown", "no_such_field");
  expect("line 8", "", "longer than 4000 bytes");
  expect("line 9", "get", "method is \"GET\"");
  expect("line 10", "empty", "");
  EXPECT_EQ(by_line["line 5"]["response"]["status_code"], 400);
  EXPECT_TRUE(by_line["line 1"]["response"].is_null());
}

TEST_F(BatchJobTest, ModelsAreCheckedWhereThatIsWanted) {
  options_.any_model = false;
  WriteFile(options_.input_path, CompletionLine("a", "x"));
  EXPECT_EQ(RunAll().by_code.at("model_not_found"), 1);
  EXPECT_EQ(Results()["a"]["response"]["status_code"], 404);
}

TEST_F(BatchJobTest, AStoppedOneGoesOnWhereItWas) {
  Script({.step_time = 500us});
  WriteMany(200);
  int runs = 0;
  for (;; ++runs) {
    ASSERT_LT(runs, 100);
    auto job = Open();
    std::thread stopper([&] {
      std::this_thread::sleep_for(30ms + runs * 5ms);
      job->Stop(runs % 2 == 0 ? 0ms : 5ms);
    });
    EXPECT_TRUE(job->Run().ok());
    stopper.join();
    if (job->progress().state == BatchState::kDone) break;
    EXPECT_EQ(job->progress().state, BatchState::kStopped);
  }
  EXPECT_GT(runs, 1);
  ExpectManyAnswered(200);
}

TEST_F(BatchJobTest, PausesAndResumes) {
  Script({.step_time = 500us});
  WriteMany(400);
  auto job = Open();
  std::thread runner([&] { EXPECT_TRUE(job->Run().ok()); });
  while (job->progress().completion_tokens == 0) std::this_thread::sleep_for(1ms);
  job->Pause();
  while (job->progress().in_flight > 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(job->progress().state, BatchState::kPaused);
  while (job->progress().done == 0) std::this_thread::sleep_for(1ms);  // what has ended is kept
  std::this_thread::sleep_for(400ms);
  const int64_t done = job->progress().done;
  EXPECT_LT(done, 400);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(job->progress().done, done);
  job->Resume();
  runner.join();
  ExpectManyAnswered(400);
}

TEST_F(BatchJobTest, AnAbandonedOneHasALineForEveryRequest) {
  Script({.step_time = 500us});
  WriteMany(200);
  auto job = Open();
  std::thread runner([&] { EXPECT_TRUE(job->Run().ok()); });
  std::this_thread::sleep_for(30ms);
  job->Abandon(1000ms, "batch_expired", "the window has passed");
  runner.join();
  const BatchProgress progress = job->progress();
  EXPECT_EQ(progress.state, BatchState::kDone);
  EXPECT_EQ(progress.done, 200);
  EXPECT_GT(progress.by_code.at("batch_expired"), 0);
  const auto results = Results();
  EXPECT_EQ(results.size(), 200u);
  const auto expired = std::ranges::count_if(results, [](const auto& entry) {
    return !entry.second["error"].is_null() && entry.second["error"]["code"] == "batch_expired";
  });
  EXPECT_EQ(expired, progress.by_code.at("batch_expired"));
}

TEST_F(BatchJobTest, WaitsWhileOthersFillTheEngine) {
  Script({.step_time = 100us, .max_queue = 3});
  WriteMany(60);
  RunAll();
  ExpectManyAnswered(60);
}

TEST_F(BatchJobTest, ALostStepIsTriedAgain) {
  std::atomic<int> refused = 0;
  Script({.refuse = [&](const std::string&) {
    return refused++ % 5 == 0 ? absl::UnavailableError("a step was lost") : absl::OkStatus();
  }});
  WriteMany(30);
  RunAll();
  ExpectManyAnswered(30);
}

TEST_F(BatchJobTest, OneRequestThatBreaksTheEngineDoesNotEndTheBatch) {
  Script({.refuse = [](const std::string& prompt) {
    return prompt == "prompt 7 " ? absl::UnavailableError("it broke") : absl::OkStatus();
  }});
  WriteMany(30);
  EXPECT_EQ(RunAll().failed, 1);
  EXPECT_EQ(Results()["r7"]["response"]["status_code"], 503);
}

TEST_F(BatchJobTest, ADeadEngineEndsTheBatchAndCostsNoRequest) {
  std::atomic<bool> dead = false;
  std::atomic<int> taken = 0;
  Script({.refuse = [&](const std::string&) {
    if (++taken > 10) dead = true;
    return dead ? absl::UnavailableError("the GPU is gone") : absl::OkStatus();
  }});
  WriteMany(40);
  {
    auto job = Open();
    const absl::Status ran = job->Run();
    EXPECT_THAT(std::string(ran.message()), HasSubstr("the GPU is gone"));
    EXPECT_EQ(job->progress().state, BatchState::kFailed);
    EXPECT_EQ(job->progress().failed, 0);
    EXPECT_EQ(job->progress().done, 10);
  }
  Script({});
  RunAll();
  ExpectManyAnswered(40);
}

TEST_F(BatchJobTest, AnInputThatChangesMeanwhileEndsIt) {
  Script({.step_time = 2ms});
  WriteMany(200);
  const std::string before = ReadFile(options_.input_path);
  {
    auto job = Open();
    std::thread changer([&] {
      std::this_thread::sleep_for(20ms);
      WriteFile(options_.input_path, std::string(before.size(), 'x'));
    });
    const absl::Status ran = job->Run();
    changer.join();
    EXPECT_TRUE(absl::IsFailedPrecondition(ran)) << ran;
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(BatchJob::Open(*context_, options_).status()));
  WriteFile(options_.input_path, before);
  Script({});
  RunAll();
  ExpectManyAnswered(200);
}

TEST_F(BatchJobTest, AFullDiskEndsItAndLosesNothing) {
  WriteMany(400);
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  {
    auto job = Open();
    const rlimit full = {50'000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &full);
    const absl::Status ran = job->Run();
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(absl::IsResourceExhausted(ran)) << ran;
    EXPECT_EQ(job->progress().state, BatchState::kFailed);
    EXPECT_LT(job->progress().done, 400);
  }
  RunAll();
  ExpectManyAnswered(400);
}

TEST_F(BatchJobTest, OrderedResultsComeInTheInputsOrder) {
  options_.ordered = true;
  WriteMany(50);
  RunAll();
  const auto lines = LinesOf(options_.output_path);
  ASSERT_EQ(lines.size(), 50u);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(nlohmann::json::parse(lines[i])["custom_id"], absl::StrCat("r", i));
}

TEST_F(BatchJobTest, TheInputIsNotTheOutput) {
  WriteMany(1);
  options_.output_path = options_.input_path;
  EXPECT_TRUE(absl::IsInvalidArgument(BatchJob::Open(*context_, options_).status()));
}

TEST_F(BatchJobTest, TellsWhatTheEngineDid) {
  Script({.step_time = 1ms});
  WriteMany(40);
  auto job = Open();
  BatchMeter meter(*engine_, /*coverage=*/true);
  ASSERT_TRUE(job->Run().ok());
  const BatchReport report = {.progress = job->progress(), .measures = meter.Measure()};
  EXPECT_EQ(report.measures.coverage.size(), 2u);
  EXPECT_GT(report.measures.generated_tokens, 40);
  const auto json = nlohmann::json::parse(report.ToJson());
  EXPECT_EQ(json["progress"]["done"], 40);
  EXPECT_GT(json["rates"]["generated_tok_per_s"], 0);
  EXPECT_EQ(json["expert_coverage"]["mean"], 1.0) << "digits and letters reach all eight";
  EXPECT_THAT(report.ToText(), HasSubstr("40 of 40 done, 0 failed"));
}

}  // namespace
}  // namespace tandem
