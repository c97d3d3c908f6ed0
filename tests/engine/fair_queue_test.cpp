// Who is admitted next: priorities, shares, and what is said to those that wait and are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/queue_bound.h"
#include "engine/wait_queue.h"
#include "tests/engine/fake_backend.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct FairQueue : ::testing::Test {
  void Add(uint64_t number, std::string share, Priority priority = Priority::kNormal,
           int32_t tokens = 100) {
    GenerationRequest request;
    request.prompt_ids.assign(tokens, 1);
    request.priority = priority;
    request.fair_share = std::move(share);
    auto sequence =
        std::make_unique<Sequence>(std::move(request), 1, tokenizer, Sequence::Limits{10000, {}},
                                   std::make_shared<GenerationHandle>());
    sequence->set_number(number);
    sequence->set_share(shares[static_cast<int>(priority)].Join(sequence->fair_share()));
    queue.Push(std::move(sequence));
  }
  std::vector<uint64_t> Order() const {
    std::vector<uint64_t> order;
    for (const Sequence* sequence : queue.First()) order.push_back(sequence->number());
    return order;
  }
  testing::FakeTokenizer tokenizer;
  std::array<FairShares, kPriorities> shares;
  WaitQueue queue;
};

TEST_F(FairQueue, PrioritiesThenArrival) {
  Add(0, "", Priority::kBatch);
  Add(1, "");
  Add(2, "", Priority::kInteractive);
  Add(3, "");
  Add(4, "", Priority::kInteractive);
  EXPECT_THAT(Order(), ElementsAre(2, 4, 1, 3, 0));
  EXPECT_THAT(queue.by_priority(), ElementsAre(2, 2, 1));
}

TEST_F(FairQueue, ASwarmDoesNotStandInFrontOfASingleUser) {
  for (int i = 0; i < 300; ++i) Add(i, "swarm");
  Add(300, "user");
  Add(301, "user");
  const auto order = Order();
  EXPECT_THAT(std::vector(order.begin(), order.begin() + 5), ElementsAre(0, 300, 1, 301, 2));
}

TEST_F(FairQueue, TokensCountNotRequests) {
  for (int i = 0; i < 4; ++i) Add(i, "long", Priority::kNormal, 300);
  for (int i = 4; i < 10; ++i) Add(i, "short", Priority::kNormal, 100);
  EXPECT_THAT(Order(), ElementsAre(0, 4, 5, 6, 1, 7, 8, 9, 2, 3));
}

TEST_F(FairQueue, WhoWasServedMoreWaits) {
  Add(0, "a");
  Add(1, "b");
  queue.First().front()->share()->served += 1;
  EXPECT_THAT(Order(), ElementsAre(1, 0));
}

TEST_F(FairQueue, APreemptedOneComesBackToItsPlace) {
  Add(5, "");
  Add(7, "");
  Add(3, "");
  EXPECT_THAT(Order(), ElementsAre(3, 5, 7));
  const Sequence* second = queue.First()[1];
  EXPECT_EQ(queue.Take(second)->number(), 5u);
  EXPECT_THAT(Order(), ElementsAre(3, 7));
}

TEST(FairShares, NobodySavesUpWhileAway) {
  FairShares shares;
  FairShare* busy = shares.Join("busy");
  FairShare* idle = shares.Join("idle");
  shares.Leave(idle);
  busy->served = 1000;
  EXPECT_EQ(shares.Join("idle")->served, 1000);
  EXPECT_EQ(shares.Join("new")->served, 1000);
}

TEST(FairShares, LeavingDoesNotClearAnAccount) {
  FairShares shares;
  FairShare* greedy = shares.Join("greedy");
  FairShare* other = shares.Join("other");
  greedy->served = 1000;
  other->served = 10;
  shares.Leave(greedy);
  EXPECT_EQ(shares.Join("greedy")->served, 1000);
}

TEST(QueueBound, LetsAFewInteractiveRequestsInAbove) {
  const QueueBound bound(2, 16);
  const auto now = Clock::now();
  const auto refused = [&](Priority priority, int32_t in_flight) {
    return !bound.Check(priority, in_flight, {1, 7, 8}, now).ok();
  };
  EXPECT_FALSE(refused(Priority::kNormal, 17));
  EXPECT_TRUE(refused(Priority::kNormal, 18));
  EXPECT_TRUE(refused(Priority::kBatch, 18));
  EXPECT_FALSE(refused(Priority::kInteractive, 19));
  EXPECT_TRUE(refused(Priority::kInteractive, 20));
}

TEST(QueueBound, ARefusalSaysWhoWaitsAndHowLong) {
  QueueBound bound(2, 16);
  auto now = Clock::now();
  bound.NoteStep(0, 5, now);
  bound.NoteStep(1, 5, now += std::chrono::seconds(3));
  EXPECT_DOUBLE_EQ(bound.seconds_each(now), 3);
  const absl::Status status = bound.Check(Priority::kNormal, 18, {1, 7, 8}, now);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("18 requests are in flight, 2 of them can run at once; 1 interactive, 7 "
                        "normal and 8 batch ones wait; this one would be number 9 and wait about "
                        "27 s; try again in 3 s"));
  EXPECT_EQ(status.GetPayload(kRetryAfterMsPayload), absl::Cord("3000"));
}

TEST(QueueBound, ThePaceIsThatOfAFullHouse) {
  QueueBound bound(2, 16);
  auto now = Clock::now();
  bound.NoteStep(1, 0, now += std::chrono::hours(1));  // idle until then
  bound.NoteStep(0, 3, now += std::chrono::hours(1));
  bound.NoteStep(2, 3, now += std::chrono::seconds(4));
  EXPECT_DOUBLE_EQ(bound.seconds_each(now), 2);
  // Nobody ends for long: the estimate grows.
  bound.NoteStep(0, 3, now += std::chrono::seconds(30));
  EXPECT_DOUBLE_EQ(bound.seconds_each(now), 30);
}

}  // namespace
}  // namespace tandem
