// Who may send what: tags, rate limits, tasks with budgets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "service/access/caller.h"
#include "service/access/gate.h"
#include "service/access/rate_limit.h"
#include "service/access/tasks.h"

namespace tandem {
namespace {

using testing::HasSubstr;

absl::StatusOr<RequestTags> Parse(const std::map<std::string, std::string>& headers) {
  return ParseRequestTags([&](std::string_view name) -> std::optional<std::string> {
    const auto found = headers.find(std::string(name));
    if (found == headers.end()) return std::nullopt;
    return found->second;
  });
}

TEST(RequestTagsTest, AllHeaders) {
  const auto tags = Parse({{"tandem-priority", "batch"},
                           {"tandem-label", "code/review"},
                           {"tandem-deadline-ms", "5000"},
                           {"tandem-task", "t-1"},
                           {"tandem-agent", "a:2"},
                           {"tandem-parent", "a:1"},
                           {"tandem-budget", "agents=5, steps=70,tokens=9000000000"}});
  ASSERT_TRUE(tags.ok()) << tags.status();
  EXPECT_EQ(tags->priority, Priority::kBatch);
  EXPECT_EQ(tags->label, "code/review");
  EXPECT_GT(*tags->deadline, std::chrono::steady_clock::now());
  EXPECT_EQ(tags->task + tags->agent + tags->parent, "t-1a:2a:1");
  EXPECT_EQ(*tags->budget, (TaskBudget{5, 70, 9'000'000'000}));
}

TEST(RequestTagsTest, NoHeadersAreDefaults) {
  const auto tags = Parse({});
  ASSERT_TRUE(tags.ok());
  EXPECT_EQ(tags->priority, Priority::kNormal);
  EXPECT_FALSE(tags->budget || tags->deadline);
}

TEST(RequestTagsTest, BadOnesAreNamed) {
  const std::map<std::string, std::string> task = {{"tandem-task", "t"}};
  const std::pair<std::string, std::string> cases[] = {
      {"tandem-priority", "urgent"},
      {"tandem-priority", ""},
      {"tandem-deadline-ms", "0"},
      {"tandem-deadline-ms", "-5"},
      {"tandem-deadline-ms", "1e3"},
      {"tandem-deadline-ms", "99999999999999999999"},
      {"tandem-label", std::string(65, 'x')},
      {"tandem-task", "a b"},
      {"tandem-task", std::string("a\0b", 3)},
      {"tandem-task", ""},
      {"tandem-agent", "../<script>"},
      {"tandem-budget", ""},
      {"tandem-budget", "agents"},
      {"tandem-budget", "agents=0"},
      {"tandem-budget", "agents=1,agents=2"},
      {"tandem-budget", "agents=99999999999"},
      {"tandem-budget", "steps=-1"},
      {"tandem-budget", "seconds=3"},
      {"tandem-budget", "steps=3,"},
  };
  for (const auto& [name, value] : cases) {
    auto headers = task;
    headers[name] = value;
    const auto tags = Parse(headers);
    EXPECT_EQ(tags.status().code(), absl::StatusCode::kInvalidArgument) << name << "=" << value;
    EXPECT_THAT(std::string(tags.status().message()), HasSubstr(name));
  }
  EXPECT_FALSE(Parse({{"tandem-agent", "a"}}).ok()) << "an agent of no task";
  EXPECT_FALSE(Parse({{"tandem-task", "t"}, {"tandem-agent", "a"}, {"tandem-parent", "a"}}).ok());
}

TEST(RateLimitTest, FillsSteadilyAndMayBeOverdrawn) {
  using namespace std::chrono_literals;
  RateLimit limit(60);
  const auto start = RateLimit::Clock::now() + 1s;
  EXPECT_EQ(limit.WaitSeconds(start), 0);
  limit.Use(60);
  EXPECT_NEAR(limit.WaitSeconds(start), 1, 1e-6);
  EXPECT_EQ(limit.WaitSeconds(start + 1s), 0);
  limit.Use(121);
  EXPECT_NEAR(limit.WaitSeconds(start + 1s), 121, 1e-6);
  EXPECT_EQ(limit.WaitSeconds(start + 3600s), 0) << "never more than a minute's worth";
  limit.Use(60);
  EXPECT_GT(limit.WaitSeconds(start + 3600s), 0);
  EXPECT_EQ(RateLimit(0).WaitSeconds(start), 0);
}

RequestTags Tags(const std::string& task, const std::string& agent = "",
                 const std::string& parent = "", std::optional<TaskBudget> budget = {}) {
  RequestTags tags;
  tags.task = task;
  tags.agent = agent;
  tags.parent = parent;
  tags.budget = budget;
  return tags;
}

class GateTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Gate::Pass>> Enter(const RequestTags& tags,
                                                    const Caller& caller = {"user", false}) {
    return gate_.Enter(caller, tags);
  }

  Admission admission_{400};
  ApiKeys keys_;
  Gate gate_{admission_, keys_};
};

TEST_F(GateTest, ABudgetOfAgentsIsKept) {
  std::vector<std::unique_ptr<Gate::Pass>> passes;
  const TaskBudget budget{.agents = 3, .steps = 100};
  for (const char* agent : {"a", "b", "c"}) {
    auto pass = Enter(Tags("t", agent, "", budget));
    ASSERT_TRUE(pass.ok()) << pass.status();
    passes.push_back(*std::move(pass));
  }
  EXPECT_TRUE(Enter(Tags("t", "b")).ok()) << "an agent that is known already";
  const auto refused = Enter(Tags("t", "d"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*refused.status().GetPayload(kErrorCodePayload), "task_budget_exceeded");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("0 new agents, 96 steps"));
  EXPECT_TRUE(Enter(Tags("other", "d")).ok());
  EXPECT_TRUE(Enter(Tags("t", "d"), {"somebody else", false}).ok()) << "a task of another key";
}

TEST_F(GateTest, TheDefaultIs300AgentsAnd4000Steps) {
  for (int i = 0; i < 300; ++i)
    ASSERT_TRUE(Enter(Tags("t", "agent-" + std::to_string(i))).ok()) << i;
  EXPECT_FALSE(Enter(Tags("t", "agent-300")).ok());
  for (int i = 300; i < 4000; ++i) ASSERT_TRUE(Enter(Tags("t", "agent-7")).ok()) << i;
  EXPECT_THAT(std::string(Enter(Tags("t", "agent-7")).status().message()),
              HasSubstr("has used its 4000 steps"));
}

TEST_F(GateTest, ABudgetOfTokensCountsWhatWasComputed) {
  const TaskBudget budget{.tokens = 1000};
  for (int i = 0; i < 2; ++i) {
    auto pass = Enter(Tags("t", "a", "", budget));
    ASSERT_TRUE(pass.ok()) << pass.status();
    Usage usage;
    usage.prompt_tokens = 5000;
    usage.cached_tokens = 4700;
    usage.completion_tokens = 200;
    (*pass)->NoteUsage(usage);
  }
  EXPECT_THAT(std::string(Enter(Tags("t", "a")).status().message()), HasSubstr("1000 tokens"));
  const auto tasks = gate_.ListTasks({"user", false});
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].spent_tokens(), 1000);
  EXPECT_EQ(tasks[0].steps, 2);
  EXPECT_EQ(tasks[0].running, 0);
}

TEST_F(GateTest, BudgetAndParentsDoNotChange) {
  ASSERT_TRUE(Enter(Tags("t", "a", "root", TaskBudget{.agents = 3})).ok());
  EXPECT_THAT(std::string(Enter(Tags("t", "a", "", TaskBudget{.agents = 4})).status().message()),
              HasSubstr("expected agents=3, steps=4000"));
  EXPECT_THAT(std::string(Enter(Tags("t", "a", "b")).status().message()),
              HasSubstr("expected root"));
}

TEST_F(GateTest, CancellingAnAgentCancelsThoseBelowAndNobodyElse) {
  std::vector<std::string> cancelled;
  std::vector<std::unique_ptr<Gate::Pass>> passes;
  const std::pair<const char*, const char*> tree[] = {
      {"root", ""}, {"left", "root"}, {"right", "root"}, {"leaf", "left"}};
  for (const auto& [agent, parent] : tree) {
    auto pass = Enter(Tags("t", agent, parent));
    ASSERT_TRUE(pass.ok());
    (*pass)->OnCancel([&cancelled, agent = std::string(agent)] { cancelled.push_back(agent); });
    passes.push_back(*std::move(pass));
  }
  EXPECT_EQ(*gate_.CancelTask({"user", false}, "t", "left"), 2);
  EXPECT_THAT(cancelled, testing::UnorderedElementsAre("left", "leaf"));
  EXPECT_EQ(Enter(Tags("t", "leaf")).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Enter(Tags("t", "new", "left")).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Enter(Tags("t", "right")).ok());
  // A client that leaves takes those along that its agent started, for now.
  cancelled.clear();
  passes[0]->NoteGone();
  EXPECT_THAT(cancelled, testing::ElementsAre("right"));
  EXPECT_TRUE(Enter(Tags("t", "right")).ok());

  EXPECT_FALSE(gate_.CancelTask({"user", false}, "t", "nobody").ok());
  EXPECT_FALSE(gate_.CancelTask({"another", false}, "t", "").ok()) << "not its task";
  EXPECT_TRUE(gate_.CancelTask({"admin", true}, "t", "").ok());
  EXPECT_FALSE(Enter(Tags("t", "right")).ok());
}

TEST_F(GateTest, APassThatWasCancelledBeforeItListensIsToldAtOnce) {
  auto pass = Enter(Tags("t", "a"));
  ASSERT_TRUE(pass.ok());
  ASSERT_TRUE(gate_.CancelTask({"user", false}, "t", "a").ok());
  bool told = false;
  (*pass)->OnCancel([&] { told = true; });
  EXPECT_TRUE(told);
}

TEST_F(GateTest, TasksAreForgottenOldestFirstButNotRunningOnes) {
  auto first = Enter(Tags("first"));
  ASSERT_TRUE(first.ok());
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(Enter(Tags("t" + std::to_string(i))).ok());
  const auto tasks = gate_.ListTasks({"user", false});
  EXPECT_EQ(tasks.size(), 4096u);
  EXPECT_TRUE(std::ranges::any_of(tasks, [](const TaskUsage& t) { return t.task == "first"; }));
}

TEST_F(GateTest, EndsLeaveNothingBehind) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        auto pass = Enter(Tags("t", "a" + std::to_string(t)));
        if (!pass.ok()) continue;
        (*pass)->OnCancel([] {});
        if (i % 7 == 0) (*pass)->NoteGone();
        (*pass)->NoteUsage({});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(admission_.open(), 0);
  EXPECT_EQ(gate_.ListTasks({"user", false})[0].running, 0);
  EXPECT_EQ(gate_.ListTasks({"user", false})[0].steps, 2000);
}

}  // namespace
}  // namespace tandem
