// Output and journal: what is in them is there for good, each result once.
#include "service/batch/result_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/batch/batch_merge.h"
#include "tests/service/batch/job_lines.h"

namespace tandem {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

JobIdentity Identity(Shard shard = {}, bool ordered = false) {
  return {.input_fingerprint = "f00d",
          .input_bytes = 100,
          .all_items = 6,
          .shard = shard,
          .ordered = ordered,
          .endpoint = "",
          .model = "m",
          .answered_by = "the model"};
}

Result MakeResult(int64_t item, const std::string& code = "") {
  return {item, {absl::StrCat("{\"custom_id\":\"", item, "\"}\n"), code}};
}

class ResultStoreTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<ResultStore>> Open(const JobIdentity& identity = Identity()) {
    return ResultStore::Open(out_, identity);
  }
  void AppendAll(std::initializer_list<int64_t> items, bool ordered = false) {
    auto store = Open(Identity({}, ordered));
    ASSERT_TRUE(store.ok()) << store.status();
    for (const int64_t item : items) {
      const Result result = MakeResult(item, item == 3 ? "invalid_request" : "");
      ASSERT_TRUE((*store)->Append({&result, 1}).ok());
    }
  }

  TempDir dir_;
  const std::string out_ = dir_.File("out");
};

TEST_F(ResultStoreTest, WhatIsAppendedIsThereWhenItIsOpenedAnew) {
  AppendAll({4, 0, 3});
  auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_THAT((*store)->done_items(), ElementsAre(4, 0, 3));
  EXPECT_THAT((*store)->done_by_code(), ElementsAre(testing::Pair("invalid_request", 1)));
  EXPECT_FALSE((*store)->was_finished());
  EXPECT_EQ(ReadFile(out_),
            MakeResult(4).line.text + MakeResult(0).line.text + MakeResult(3).line.text);
}

TEST_F(ResultStoreTest, WhatIsNotNotedIsCutOff) {
  AppendAll({0, 1});
  const std::string good = ReadFile(out_);
  for (const std::string& tail :
       std::vector<std::string>{"{\"custom_id\":", "whole lines\nand a to", "\n"}) {
    WriteFile(out_, good + tail);
    EXPECT_TRUE(Open().ok());
    EXPECT_EQ(ReadFile(out_), good);
  }
}

TEST_F(ResultStoreTest, ChangedResultsAreNoticedAndLeftAlone) {
  AppendAll({0, 1});
  std::string changed = ReadFile(out_);
  for (const std::string& bad :
       std::vector<std::string>{changed.substr(1), std::string("x") + changed.substr(1),
                                changed.substr(0, changed.size() - 1), std::string()}) {
    WriteFile(out_, bad);
    EXPECT_TRUE(absl::IsDataLoss(Open().status())) << bad;
    EXPECT_EQ(ReadFile(out_), bad);
  }
}

TEST_F(ResultStoreTest, AnOutputOfSomebodyElseIsNotTouched) {
  WriteFile(out_, "mine");
  const auto store = Open();
  EXPECT_TRUE(absl::IsAlreadyExists(store.status())) << store.status();
  EXPECT_EQ(ReadFile(out_), "mine");
  EXPECT_FALSE(std::filesystem::exists(JournalPath(out_)));
}

TEST_F(ResultStoreTest, AnotherJobDoesNotContinueIt) {
  AppendAll({0});
  const auto refused = [&](auto change) {
    JobIdentity other = Identity();
    change(other);
    const absl::Status status = Open(other).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refused([](JobIdentity& i) { i.input_fingerprint = "beef"; }),
              HasSubstr("begun with another input"));
  EXPECT_THAT(refused([](JobIdentity& i) { i.shard = {1, 2}; }), HasSubstr("shard \"1/1\""));
  EXPECT_THAT(refused([](JobIdentity& i) { i.ordered = true; }), HasSubstr("ordered \"no\""));
  EXPECT_THAT(refused([](JobIdentity& i) { i.answered_by = "another"; }),
              HasSubstr("answered_by \"the model\", now it is \"another\""));
  EXPECT_THAT(refused([](JobIdentity& i) { i.endpoint = "/x"; }), HasSubstr("endpoint"));
  EXPECT_TRUE(Open().ok());
}

TEST_F(ResultStoreTest, OnlyOneAtATime) {
  auto store = Open();
  ASSERT_TRUE(store.ok());
  EXPECT_TRUE(absl::IsAborted(Open().status())) << Open().status();
  const pid_t child = fork();
  if (child == 0) _exit(absl::IsAborted(Open().status()) ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "another process is refused, too";
  store->reset();
  EXPECT_TRUE(Open().ok());
}

TEST_F(ResultStoreTest, NoJournalAtAll) {
  WriteFile(JournalPath(out_), std::string(5000, 'x'));
  EXPECT_TRUE(absl::IsDataLoss(Open().status())) << Open().status();
  EXPECT_FALSE(ResultStore::Open(dir_.File("none/out"), Identity()).ok());
}

TEST_F(ResultStoreTest, OrderedResultsAppearInTheEnd) {
  AppendAll({5, 2, 0, 1}, true);
  EXPECT_FALSE(std::filesystem::exists(out_));
  AppendAll({4, 3}, true);
  {
    auto store = Open(Identity({}, true));
    ASSERT_TRUE(store.ok());
    ASSERT_TRUE((*store)->Finish().ok());
  }
  std::string expected;
  for (int i = 0; i < 6; ++i) expected += MakeResult(i).line.text;
  EXPECT_EQ(ReadFile(out_), expected);
  EXPECT_FALSE(std::filesystem::exists(out_ + ".unordered"));
  auto again = Open(Identity({}, true));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE((*again)->was_finished());
  EXPECT_EQ((*again)->done_items().size(), 6u);
}

TEST_F(ResultStoreTest, AFinishedOutputThatIsGoneIsAnError) {
  AppendAll({0, 1, 2, 3, 4, 5});
  ASSERT_TRUE((*Open())->Finish().ok());
  std::filesystem::remove(out_);
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

// A file system that is full, for this process: no file may grow beyond a size.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

TEST_F(ResultStoreTest, AFullDiskLosesNothing) {
  for (const rlim_t bytes : {20'000, 60'000, 200'000, 400'000}) {
    const std::string out = dir_.File(absl::StrCat("out", bytes));
    int64_t kept = 0;
    {
      auto store = ResultStore::Open(out, Identity());
      ASSERT_TRUE(store.ok());
      const FullDisk full(bytes);
      absl::Status status;
      for (; status.ok() && kept < 6000; ++kept) {
        Result result = MakeResult(kept);
        result.line.text.insert(1, std::string(1000, ' '));
        status = (*store)->Append({&result, 1});
      }
      --kept;
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("make room"));
    }
    auto store = ResultStore::Open(out, Identity());
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(std::ssize((*store)->done_items()), kept);
    const Result more = MakeResult(kept);
    EXPECT_TRUE((*store)->Append({&more, 1}).ok());
  }
}

class MergeTest : public ResultStoreTest {
 protected:
  std::string MakeShard(Shard shard, std::vector<int64_t> items, bool finish = true,
                        bool ordered = false, const std::string& input = "f00d") {
    JobIdentity identity = Identity(shard, ordered);
    identity.input_fingerprint = input;
    const std::string out = dir_.File(absl::StrCat("part", ++parts_));
    auto store = ResultStore::Open(out, identity);
    EXPECT_TRUE(store.ok()) << store.status();
    for (const int64_t item : items) {
      const Result result = MakeResult(item, item == 3 ? "invalid_request" : "");
      EXPECT_TRUE((*store)->Append({&result, 1}).ok());
    }
    if (finish) EXPECT_TRUE((*store)->Finish().ok());
    return out;
  }
  std::string Refusal(const std::vector<std::string>& shards) {
    const auto merged = MergeShards(shards, out_);
    EXPECT_FALSE(merged.ok());
    EXPECT_FALSE(std::filesystem::exists(out_));
    return std::string(merged.status().message());
  }

  int parts_ = 0;
};

TEST_F(MergeTest, PutsShardsIntoTheInputsOrder) {
  const std::string a = MakeShard({1, 3}, {3, 0}), b = MakeShard({2, 3}, {4, 1}, true, true),
                    c = MakeShard({3, 3}, {2, 5});
  const auto merged = MergeShards({c, a, b}, out_);
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(merged->requests, 6);
  EXPECT_EQ(merged->failed, 1);
  std::string expected;
  for (int i = 0; i < 6; ++i) expected += MakeResult(i).line.text;
  EXPECT_EQ(ReadFile(out_), expected);
  EXPECT_TRUE(absl::IsAlreadyExists(MergeShards({c, a, b}, out_).status()));
}

TEST_F(MergeTest, RefusesWhatIsNotTheWholeOfOneBatch) {
  const std::string a = MakeShard({1, 2}, {0, 2, 4}), b = MakeShard({2, 2}, {1, 3, 5});
  EXPECT_THAT(Refusal({a}), HasSubstr("shard 2/2 is missing"));
  EXPECT_THAT(Refusal({a, a}), HasSubstr("named twice"));
  EXPECT_THAT(Refusal({a, MakeShard({1, 2}, {0, 2, 4})}), HasSubstr("are both shard 1/2"));
  EXPECT_THAT(Refusal({a, MakeShard({2, 3}, {1, 4})}), HasSubstr("number of shards differs"));
  EXPECT_THAT(Refusal({a, MakeShard({2, 2}, {1, 3, 5}, true, false, "beef")}),
              HasSubstr("the input differs"));
  EXPECT_THAT(Refusal({a, MakeShard({2, 2}, {1, 3}, false)}), HasSubstr("is not finished"));
  EXPECT_THAT(Refusal({a, MakeShard({2, 2}, {1, 5})}), HasSubstr("request 3 has no result"));
  EXPECT_THAT(Refusal({a, dir_.File("none")}), HasSubstr("none.journal"));
  WriteFile(b, std::string(std::filesystem::file_size(b), 'x'));
  EXPECT_THAT(Refusal({a, b}), HasSubstr("was changed"));
}

}  // namespace
}  // namespace tandem
