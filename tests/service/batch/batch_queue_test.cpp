// A server's batches over a scripted engine: from upload to results, through restarts.
#include "service/batch/batch_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "service/batch/batch_results.h"
#include "tests/service/batch/job_lines.h"
#include "tests/service/fake_engine.h"

namespace tandem {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

class BatchQueueTest : public testing::Test {
 protected:
  BatchQueueTest() {
    options_.folder = dir_.File("batches");
    options_.max_in_flight = 8;
    options_.answered_by = "a script";
    Script({});
  }
  ~BatchQueueTest() override { queue_.reset(); }

  void Script(FakeEngine::Script script) {
    queue_.reset();
    context_ = nullptr;
    engine_ = std::make_unique<FakeEngine>(std::move(script));
    constraints_ = ConstraintCompiler::Create(engine_->tokenizer(), engine_->config().eos_ids, {});
    context_ = std::unique_ptr<ServiceContext>(new ServiceContext{
        *engine_, gate_, *constraints_, limits_, intake_, writer_, "any", policy_, &keys_});
    Open();
  }
  void Open() {
    queue_.reset();
    auto queue = BatchQueue::Open(*context_, options_);
    ASSERT_TRUE(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
  }
  static std::string ManyLines(int n) {
    std::string text;
    for (int i = 0; i < n; ++i)
      text += CompletionLine(absl::StrCat("r", i), absl::StrCat("prompt ", i, " "));
    return text;
  }
  std::string Upload(const std::string& text, const std::string& owner = "ann") {
    const auto file = queue_->files().Add({.owner = owner, .name = "in.jsonl"}, text);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? file->id : "";
  }
  std::string Create(const std::string& text, int64_t window_s = 3600,
                     const std::string& owner = "ann") {
    const auto batch = queue_->Create(
        {owner},
        {.input_file = Upload(text, owner), .endpoint = "/v1/completions", .window_s = window_s});
    EXPECT_TRUE(batch.ok()) << batch.status();
    return batch.ok() ? batch->record.id : "";
  }
  BatchView Get(const std::string& id, const std::string& owner = "ann") {
    const auto view = queue_->Get({owner}, id);
    EXPECT_TRUE(view.ok()) << view.status();
    return view.value_or(BatchView{});
  }
  // Until it is so, within a while.
  bool Await(const std::function<bool()>& so) {
    for (int i = 0; i < 6000; ++i) {
      if (so()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
  BatchRecord AwaitEnd(const std::string& id, const std::string& owner = "ann") {
    EXPECT_TRUE(Await([&] { return HasEnded(Get(id, owner).record.status); }));
    return Get(id, owner).record;
  }
  std::map<std::string, nlohmann::json> Results(const std::string& file) {
    return ResultsOf(queue_->files().PathOf(file));
  }

  TempDir dir_;
  BatchQueueOptions options_;
  Limits limits_;
  PromptPolicy policy_;
  Admission admission_{320};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
  WorkQueue intake_{1}, writer_{1};
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  std::unique_ptr<ServiceContext> context_;
  std::unique_ptr<BatchQueue> queue_;
};

TEST_F(BatchQueueTest, AnswersAndErrorsAreParted) {
  const std::string id =
      Create(ManyLines(20) + CompletionLine("hot", "x", 4, R"(,"temperature":9)"));
  const BatchRecord batch = AwaitEnd(id);
  EXPECT_EQ(batch.status, BatchStatus::kCompleted);
  EXPECT_EQ(batch.total, 21);
  EXPECT_EQ(batch.done, 21);
  EXPECT_EQ(batch.failed, 1);
  EXPECT_GT(batch.in_progress_s, 0);
  EXPECT_GE(batch.finalizing_s, batch.in_progress_s);
  EXPECT_GE(batch.completed_s, batch.finalizing_s);
  EXPECT_EQ(Results(batch.output_file).size(), 20u);
  const auto errors = Results(batch.error_file);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(std::string(errors.at("hot")["error"]["message"]), HasSubstr("temperature"));
  EXPECT_EQ(engine_->last_request().priority, Priority::kBatch);
  const auto file = queue_->files().Find("ann", batch.output_file);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->purpose, "batch_output");
  EXPECT_EQ(file->bytes,
            static_cast<int64_t>(std::filesystem::file_size(queue_->files().PathOf(file->id))));
}

TEST_F(BatchQueueTest, OfOneKindOnlyThereIsOneFile) {
  const BatchRecord good = AwaitEnd(Create(ManyLines(3)));
  EXPECT_EQ(Results(good.output_file).size(), 3u);
  EXPECT_EQ(good.error_file, "");
  const BatchRecord bad = AwaitEnd(Create(CompletionLine("hot", "x", 4, R"(,"temperature":9)")));
  EXPECT_EQ(bad.status, BatchStatus::kCompleted);
  EXPECT_EQ(bad.output_file, "");
  EXPECT_EQ(Results(bad.error_file).size(), 1u);
}

TEST_F(BatchQueueTest, AnInputThatIsNoneFailsWithItsLines) {
  const BatchRecord batch = AwaitEnd(
      Create(CompletionLine("a", "x") + "{nothing\n\n" + CompletionLine("a", "y") +
             R"({"custom_id":"c","method":"POST","url":"/v1/embeddings","body":{}})" + "\n"));
  EXPECT_EQ(batch.status, BatchStatus::kFailed);
  ASSERT_EQ(batch.faults.size(), 3u);
  EXPECT_EQ(batch.faults[0].line, 2);
  EXPECT_THAT(batch.faults[0].message, HasSubstr("JSON"));
  EXPECT_EQ(batch.faults[1].line, 4);
  EXPECT_EQ(batch.faults[1].code, "duplicate_custom_id");
  EXPECT_EQ(batch.faults[2].line, 5);
  EXPECT_THAT(batch.faults[2].message, HasSubstr("url"));
  EXPECT_GT(batch.failed_s, 0);
  const BatchRecord empty = AwaitEnd(Create("\n \n"));
  ASSERT_EQ(empty.faults.size(), 1u);
  EXPECT_EQ(empty.faults[0].code, "empty_file");
}

TEST_F(BatchQueueTest, WhatIsAnothersIsNotFound) {
  const std::string id = Create(ManyLines(1));
  const BatchRecord batch = AwaitEnd(id);
  const Caller bob = {"bob"};
  EXPECT_TRUE(absl::IsNotFound(queue_->Get(bob, id).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->Cancel(bob, id).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->SetPaused(bob, id, true).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->Delete(bob, id)));
  EXPECT_TRUE(absl::IsNotFound(queue_->ResultsPath(bob, id).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->files().Find("bob", batch.output_file).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->files().Delete("bob", batch.output_file)));
  EXPECT_TRUE(absl::IsNotFound(queue_->files().Content("bob", batch.output_file).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      queue_->Create(bob, {.input_file = batch.input_file, .endpoint = "/v1/completions"})
          .status()));
  EXPECT_TRUE(queue_->List(bob, false, {})->records.empty());
  // An admin sees that it is there, and not what is in it.
  const Caller root = {"root", /*admin=*/true};
  EXPECT_TRUE(queue_->Get(root, id).ok());
  EXPECT_EQ(queue_->List(root, true, {})->records.size(), 1u);
  EXPECT_TRUE(absl::IsNotFound(queue_->ResultsPath(root, id).status()));
  // No id of ours is a path.
  EXPECT_TRUE(absl::IsNotFound(queue_->files().Find("ann", "../batches.db").status()));
}

TEST_F(BatchQueueTest, ARestartGoesOnAndEachRequestIsAnsweredOnce) {
  Script({.step_time = 3ms});
  const std::string id = Create(ManyLines(200));
  int restarts = 0;
  for (; restarts < 20 && !HasEnded(Get(id).record.status); ++restarts) {
    const int64_t before = Get(id).record.done;
    ASSERT_TRUE(Await([&] {
      const BatchView view = Get(id);
      return HasEnded(view.record.status) || view.record.done > before;
    }));
    Open();
  }
  const BatchRecord batch = AwaitEnd(id);
  EXPECT_GT(restarts, 1);
  EXPECT_EQ(batch.status, BatchStatus::kCompleted);
  const auto results = Results(batch.output_file);
  EXPECT_EQ(results.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(results.contains(absl::StrCat("r", i))) << i;
}

TEST_F(BatchQueueTest, CancelKeepsWhatIsDone) {
  Script({.step_time = 2ms});
  const std::string id = Create(ManyLines(400));
  ASSERT_TRUE(Await([&] { return Get(id).record.done > 10; }));
  const auto cancelling = queue_->Cancel({"ann"}, id);
  ASSERT_TRUE(cancelling.ok());
  EXPECT_EQ(cancelling->record.status, BatchStatus::kCancelling);
  const BatchRecord batch = AwaitEnd(id);
  EXPECT_EQ(batch.status, BatchStatus::kCancelled);
  EXPECT_GE(batch.cancelled_s, batch.cancelling_s);
  auto results = Results(batch.output_file);
  EXPECT_GT(results.size(), 10u);
  for (const auto& [custom_id, line] : Results(batch.error_file)) {
    EXPECT_EQ(line["error"]["code"], "batch_cancelled");
    EXPECT_TRUE(results.emplace(custom_id, line).second) << custom_id;
  }
  EXPECT_EQ(results.size(), 400u);
  const absl::Status again = queue_->Cancel({"ann"}, id).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(again)) << again;
}

TEST_F(BatchQueueTest, WhatIsNotDoneInTimeExpires) {
  Script({.step_time = 5ms});
  const BatchRecord batch = AwaitEnd(Create(ManyLines(2000), /*window_s=*/2));
  EXPECT_EQ(batch.status, BatchStatus::kExpired);
  EXPECT_GT(batch.expired_s, 0);
  const auto errors = Results(batch.error_file);
  EXPECT_EQ(errors.begin()->second["error"]["code"], "batch_expired");
  EXPECT_EQ(Results(batch.output_file).size() + errors.size(), 2000u);
}

TEST_F(BatchQueueTest, PausedOnesWaitAlsoOverARestart) {
  Script({.step_time = 1ms});
  const std::string id = Create(ManyLines(300));
  ASSERT_TRUE(Await([&] { return Get(id).record.done > 0; }));
  ASSERT_TRUE(queue_->SetPaused({"ann"}, id, true).ok());
  ASSERT_TRUE(Await([&] { return !Get(id).running; }));
  const int64_t done = Get(id).record.done;
  EXPECT_LT(done, 300);
  EXPECT_TRUE(Await([&] { return queue_->counts().paused == 1; }));
  Open();
  std::this_thread::sleep_for(200ms);
  EXPECT_FALSE(Get(id).running);
  EXPECT_EQ(Get(id).record.done, done);
  ASSERT_TRUE(queue_->SetPaused({"ann"}, id, false).ok());
  EXPECT_EQ(Results(AwaitEnd(id).output_file).size(), 300u);
}

TEST_F(BatchQueueTest, AllBatchWorkIsPaused) {
  ASSERT_TRUE(queue_->SetAllPaused(true).ok());
  const std::string id = Create(ManyLines(3));
  ASSERT_TRUE(Await([&] { return Get(id).record.status == BatchStatus::kInProgress; }));
  Open();
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(Get(id).running);
  EXPECT_THAT(Get(id).record.problem, HasSubstr("paused"));
  EXPECT_TRUE(queue_->counts().all_paused);
  ASSERT_TRUE(queue_->SetAllPaused(false).ok());
  EXPECT_EQ(AwaitEnd(id).status, BatchStatus::kCompleted);
}

// One batch at a time: those of a key that has many do not keep another's waiting.
TEST_F(BatchQueueTest, KeysTakeTurns) {
  options_.limits.max_running = 1;
  Script({});
  ASSERT_TRUE(queue_->SetAllPaused(true).ok());
  std::vector<std::string> anns;
  for (int i = 0; i < 3; ++i) anns.push_back(Create(ManyLines(2)));
  const std::string bobs = Create(ManyLines(2), 3600, "bob");
  ASSERT_TRUE(Await([&] { return Get(bobs, "bob").record.in_progress_s > 0; }));
  ASSERT_TRUE(queue_->SetAllPaused(false).ok());
  AwaitEnd(bobs, "bob");
  int open = 0;
  for (const std::string& id : anns) open += !HasEnded(Get(id).record.status);
  EXPECT_GE(open, 1) << "bob's was not the last";
  for (const std::string& id : anns) AwaitEnd(id);
}

TEST_F(BatchQueueTest, ALongBatchMakesRoomForAnothersAndGoesOn) {
  options_.limits.max_running = 1;
  options_.limits.turn_s = 1;
  Script({.step_time = 5ms});
  const std::string anns = Create(ManyLines(500));
  ASSERT_TRUE(Await([&] { return Get(anns).record.done > 0; }));
  EXPECT_EQ(AwaitEnd(Create(ManyLines(2), 3600, "bob"), "bob").status, BatchStatus::kCompleted);
  EXPECT_FALSE(HasEnded(Get(anns).record.status));
  EXPECT_EQ(Results(AwaitEnd(anns).output_file).size(), 500u);
}

TEST_F(BatchQueueTest, LimitsAreTold) {
  options_.limits.max_file_bytes = 1000;
  options_.limits.max_key_bytes = 1500;
  options_.limits.max_key_files = 3;
  options_.limits.max_key_batches = 1;
  options_.limits.max_requests = 2;
  Open();
  auto& files = queue_->files();
  EXPECT_THAT(std::string(files.Add({"ann", "a"}, std::string(1001, 'x')).status().message()),
              HasSubstr("more than 1000 bytes"));
  const auto first = files.Add({"ann", "a"}, std::string(1000, 'x'));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(std::string(files.Add({"ann", "a"}, std::string(600, 'x')).status().message()),
              HasSubstr("at most 1500"));
  EXPECT_TRUE(files.Add({"bob", "a"}, std::string(600, 'x')).ok()) << "another's limits";
  ASSERT_TRUE(files.Delete("ann", first->id).ok());
  const BatchRecord batch = AwaitEnd(Create(ManyLines(3)));
  ASSERT_EQ(batch.faults.size(), 1u);
  EXPECT_EQ(batch.faults[0].code, "too_many_requests");
  ASSERT_TRUE(queue_->SetAllPaused(true).ok());
  Create(ManyLines(1));
  const auto second =
      queue_->Create({"ann"}, {.input_file = batch.input_file, .endpoint = "/v1/completions"});
  EXPECT_TRUE(absl::IsResourceExhausted(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("at most 1"));
  Upload("x");
  EXPECT_TRUE(absl::IsResourceExhausted(files.Add({"ann", "a"}, "x").status()));
  // What was refused left nothing behind.
  size_t on_disk = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options_.folder + "/files"))
    on_disk += entry.is_regular_file();
  EXPECT_EQ(on_disk, 4u);
}

TEST_F(BatchQueueTest, AnUploadThatBreaksOffLeavesNothing) {
  {
    auto upload = queue_->files().Begin({.owner = "ann", .name = "a"});
    ASSERT_TRUE(upload.ok());
    ASSERT_TRUE((*upload)->Append("half").ok());
  }
  WriteFile(options_.folder + "/files/file-ofnobody", "left by a crash");
  WriteFile(options_.folder + "/jobs/batch_ofnobody.jsonl.journal", "likewise");
  Open();
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder + "/files"));
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder + "/jobs"));
  EXPECT_TRUE(queue_->files().List("ann", "", {})->records.empty());
}

TEST_F(BatchQueueTest, AnotherModelLeavesABatchWaiting) {
  Script({.step_time = 1ms});
  const std::string id = Create(ManyLines(300));
  ASSERT_TRUE(Await([&] { return Get(id).record.done > 0; }));
  options_.answered_by = "another script";
  Open();
  ASSERT_TRUE(Await([&] { return !Get(id).record.problem.empty(); }));
  EXPECT_THAT(Get(id).record.problem, HasSubstr("another model"));
  EXPECT_EQ(Get(id).record.status, BatchStatus::kInProgress);
  options_.answered_by = "a script";
  Open();
  const BatchRecord batch = AwaitEnd(id);
  EXPECT_EQ(batch.problem, "");
  EXPECT_EQ(Results(batch.output_file).size(), 300u);
  // One that is cancelled while it cannot go on ends with what there is.
  const std::string other = Create(ManyLines(300));
  ASSERT_TRUE(Await([&] { return Get(other).record.done > 0; }));
  options_.answered_by = "another script";
  Open();
  ASSERT_TRUE(queue_->Cancel({"ann"}, other).ok());
  const BatchRecord cancelled = AwaitEnd(other);
  EXPECT_EQ(cancelled.status, BatchStatus::kCancelled);
  EXPECT_EQ(static_cast<int64_t>(Results(cancelled.output_file).size()), cancelled.done);
}

TEST_F(BatchQueueTest, FilesInUseStayAndEndedBatchesGo) {
  ASSERT_TRUE(queue_->SetAllPaused(true).ok());
  const std::string id = Create(ManyLines(2));
  const std::string input = Get(id).record.input_file;
  EXPECT_TRUE(absl::IsFailedPrecondition(queue_->files().Delete("ann", input)));
  EXPECT_TRUE(absl::IsFailedPrecondition(queue_->Delete({"ann"}, id)));
  ASSERT_TRUE(queue_->SetAllPaused(false).ok());
  const BatchRecord batch = AwaitEnd(id);
  ASSERT_TRUE(queue_->Delete({"ann"}, id).ok());
  EXPECT_TRUE(absl::IsNotFound(queue_->Get({"ann"}, id).status()));
  EXPECT_TRUE(absl::IsNotFound(queue_->files().Find("ann", batch.output_file).status()));
  EXPECT_TRUE(queue_->files().Delete("ann", input).ok());
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder + "/files"));
  EXPECT_TRUE(std::filesystem::is_empty(options_.folder + "/jobs"));
}

TEST_F(BatchQueueTest, FilesAndBatchesExpire) {
  options_.limits.keep_s = -1;  // over as soon as they are there
  Open();
  const std::string file = Upload("x");
  Open();
  EXPECT_TRUE(Await([&] { return !queue_->files().Find("ann", file).ok(); }));
}

TEST_F(BatchQueueTest, PagesOfALongList) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(Upload("x"));
  auto& files = queue_->files();
  const auto ids_of = [](const Page<FileRecord>& page) {
    std::vector<std::string> found;
    for (const FileRecord& file : page.records) found.push_back(file.id);
    return found;
  };
  const auto first = files.List("ann", "batch", {.limit = 2});
  EXPECT_THAT(ids_of(*first), ElementsAre(ids[4], ids[3]));
  EXPECT_TRUE(first->has_more);
  const auto rest = files.List("ann", "", {.after = ids[3], .limit = 3});
  EXPECT_THAT(ids_of(*rest), ElementsAre(ids[2], ids[1], ids[0]));
  EXPECT_FALSE(rest->has_more);
  EXPECT_THAT(ids_of(*files.List("ann", "", {.after = ids[3], .ascending = true})),
              ElementsAre(ids[4]));
  EXPECT_TRUE(files.List("ann", "batch_output", {})->records.empty());
  EXPECT_TRUE(absl::IsInvalidArgument(files.List("bob", "", {.after = ids[3]}).status()));
}

TEST_F(BatchQueueTest, OneServerHasTheFolder) {
  const auto second = BatchQueue::Open(*context_, options_);
  EXPECT_TRUE(absl::IsAborted(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another server"));
}

TEST_F(BatchQueueTest, ResultsAreReadWhileItWorks) {
  Script({.step_time = 1ms});
  const std::string id = Create(ManyLines(200));
  const auto path = queue_->ResultsPath({"ann"}, id);
  ASSERT_TRUE(path.ok());
  ResultReader reader(*path);
  std::set<std::string> seen;
  bool ended = false, early = false;
  while (!ended) {
    const BatchView view = Get(id);
    ended = HasEnded(view.record.status);
    const auto lines = reader.Read(view.record.done, 1000);
    ASSERT_TRUE(lines.ok()) << lines.status();
    early |= !ended && !lines->empty();
    for (const std::string& line : *lines)
      EXPECT_TRUE(seen.insert(nlohmann::json::parse(line)["custom_id"]).second) << line;
    if (ended && reader.line() < view.record.done) ended = false;
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_TRUE(early);
}

}  // namespace
}  // namespace tandem
