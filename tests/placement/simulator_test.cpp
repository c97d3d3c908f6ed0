// The simulator against what is obvious: counting, a list, every possible choice.
#include "placement/simulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>

namespace tandem {
namespace {

constexpr int32_t kDense = 1;  // layer 0 has no experts

ModelIdentity Model(int32_t moe_layers, int32_t experts, int32_t top_k) {
  return {.layers = kDense + moe_layers,
          .dense_layers = kDense,
          .hidden = 64,
          .experts = experts,
          .top_k = top_k,
          .expert_intermediate = 32};
}

struct Rows {
  int32_t at_least = 1, at_most = 1;  // of a step
};

// Sequences one after another or mixed, prefill first; low experts are used more, each sequence
// has favourites.
RoutingTrace RandomTrace(const ModelIdentity& model, int steps, Rows rows, uint32_t seed) {
  std::mt19937 random(seed);
  RoutingTrace trace{.model = model};
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  for (int s = 0; s < steps; ++s) {
    TraceStep& step = trace.steps.emplace_back();
    const int n = rows.at_least + below(rows.at_most - rows.at_least + 1);
    for (int r = 0; r < n; ++r) {
      const auto sequence = static_cast<uint32_t>(below(8));
      step.rows.push_back({sequence, below(3) == 0 ? Phase::kPrefill : Phase::kDecode});
      for (int32_t l = 0; l < model.moe_layers(); ++l) {
        std::set<uint16_t> chosen;
        while (std::ssize(chosen) < model.top_k) {
          const int favourite = static_cast<int>(sequence * 3 + l) % model.experts;
          chosen.insert(static_cast<uint16_t>(
              below(3) == 0 ? favourite : std::min(below(model.experts), below(model.experts))));
        }
        step.ids.insert(step.ids.end(), chosen.begin(), chosen.end());
      }
    }
  }
  return trace;
}

bool Counted(const TraceRow& row, bool held_out_only) {
  return !held_out_only || row.sequence % 4 == 3;
}

const uint16_t* Ids(const RoutingTrace& trace, const TraceStep& step, size_t row, int32_t layer) {
  return &step.ids[(row * trace.model.moe_layers() + layer) * trace.model.top_k];
}

// Replays a layer with a set that update(step, set) changes behind each step.
template <class Update>
HitCount Replay(const RoutingTrace& trace, int32_t layer, std::set<int32_t> hot, bool held_out_only,
                const Update& update) {
  HitCount count;
  for (const TraceStep& step : trace.steps) {
    for (size_t r = 0; r < step.rows.size(); ++r) {
      if (!Counted(step.rows[r], held_out_only)) continue;
      for (int32_t k = 0; k < trace.model.top_k; ++k) {
        ++count.pairs;
        count.hits += hot.count(Ids(trace, step, r, layer)[k]);
      }
    }
    update(step, hot);
  }
  return count;
}

std::set<int32_t> AsSet(const std::vector<ExpertId>& experts) {
  std::set<int32_t> set;
  for (const ExpertId e : experts) set.insert(e.value);
  return set;
}

HitCount All(const LayerResult& layer) {
  return {layer.counts[0].hits + layer.counts[1].hits,
          layer.counts[0].pairs + layer.counts[1].pairs};
}

SimulationResult RunOne(const RoutingTrace& trace, const HotLists& start, HotPolicy policy,
                        bool held_out_only, int32_t threads = 1) {
  const auto results = Simulate(trace, start, {policy},
                                {.adapter = {.half_life_tokens = 30,
                                             .dwell_tokens = 10,
                                             .sigmas = 0.5,
                                             .interval_tokens = 4,
                                             .horizon_tokens = 100000},
                                 .held_out_only = held_out_only,
                                 .threads = threads});
  EXPECT_TRUE(results.ok()) << results.status();
  return results->front();
}

TEST(MostUsed, RanksByCountsOfTheRequestsThatAreNotHeldOut) {
  RoutingTrace trace{.model = Model(2, 4, 1)};
  const auto add = [&](uint32_t sequence, uint16_t first, uint16_t second) {
    trace.steps.push_back({{{sequence, Phase::kDecode}}, {first, second}});
  };
  for (int i = 0; i < 5; ++i) add(3, 0, 0);  // held out: seen by no ranking
  for (int i = 0; i < 3; ++i) add(1, 2, 1);
  add(4, 1, 1);
  const RoutingCounts counts = CountTraining(trace);
  EXPECT_EQ(counts.tokens, 4);
  EXPECT_EQ(counts.hits, (std::vector<int64_t>{0, 1, 3, 0, /**/ 0, 4, 0, 0}));
  EXPECT_EQ(MostUsed(trace.model, counts, 3), (HotLists{{}, {{2}, {1}}, {{1}}}));
  EXPECT_EQ(MostUsedPerLayer(trace.model, counts, 2), (HotLists{{}, {{2}, {1}}, {{1}, {0}}}));
}

TEST(Simulator, StaticIsCounting) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RoutingTrace trace = RandomTrace(Model(3, 16, 4), 60, {1, 9}, seed);
    const HotLists start = MostUsed(trace.model, CountTraining(trace), 13);
    for (const bool held_out : {true, false}) {
      const SimulationResult result = RunOne(trace, start, HotPolicy::kStatic, held_out);
      for (int32_t l = 0; l < 3; ++l) {
        const HitCount expected = Replay(trace, l, AsSet(start[kDense + l]), held_out,
                                         [](const TraceStep&, std::set<int32_t>&) {});
        EXPECT_EQ(All(result.layers[l]).hits, expected.hits) << "seed " << seed;
        EXPECT_EQ(All(result.layers[l]).pairs, expected.pairs) << "seed " << seed;
      }
      EXPECT_EQ(result.moves, 0);
      EXPECT_EQ(result.all().pairs,
                result.of(Phase::kPrefill).pairs + result.of(Phase::kDecode).pairs);
    }
  }
}

TEST(Simulator, LruIsAList) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RoutingTrace trace = RandomTrace(Model(2, 12, 3), 80, {1, 5}, seed);
    const HotLists start = MostUsedPerLayer(trace.model, CountTraining(trace), 5);
    const SimulationResult result = RunOne(trace, start, HotPolicy::kLru, false);
    int64_t moves = 0;
    for (int32_t l = 0; l < 2; ++l) {
      std::list<int32_t> recent;  // the last used first
      for (const ExpertId e : start[kDense + l]) recent.push_back(e.value);
      const HitCount expected = Replay(trace, l, AsSet(start[kDense + l]), false,
                                       [&](const TraceStep& step, std::set<int32_t>& hot) {
                                         for (size_t r = 0; r < step.rows.size(); ++r) {
                                           for (int32_t k = 0; k < trace.model.top_k; ++k) {
                                             recent.remove(Ids(trace, step, r, l)[k]);
                                             recent.push_front(Ids(trace, step, r, l)[k]);
                                             if (recent.size() > 5) recent.pop_back();
                                           }
                                         }
                                         for (const int32_t e : recent) moves += !hot.contains(e);
                                         hot = {recent.begin(), recent.end()};
                                       });
      EXPECT_EQ(All(result.layers[l]).hits, expected.hits) << "seed " << seed;
    }
    EXPECT_EQ(result.moves, moves);
    EXPECT_EQ(result.bytes, moves * 3456);  // 3 x 64 x 32 weights of 4.5 bits
  }
}

// The most hits that any policy can have that brings in, behind a step, only what the step used.
int64_t BestPossible(const RoutingTrace& trace, const std::vector<ExpertId>& start,
                     bool held_out_only) {
  std::map<std::set<int32_t>, int64_t> best{{AsSet(start), 0}};
  for (const TraceStep& step : trace.steps) {
    std::map<std::set<int32_t>, int64_t> next;
    std::set<int32_t> used;
    for (size_t r = 0; r < step.rows.size(); ++r)
      for (int32_t k = 0; k < trace.model.top_k; ++k) used.insert(Ids(trace, step, r, 0)[k]);
    for (const auto& [hot, hits_before] : best) {
      int64_t hits = hits_before;
      for (size_t r = 0; r < step.rows.size(); ++r)
        for (int32_t k = 0; k < trace.model.top_k; ++k)
          hits += Counted(step.rows[r], held_out_only) && hot.contains(Ids(trace, step, r, 0)[k]);
      std::set<int32_t> candidates = hot;
      candidates.insert(used.begin(), used.end());
      const std::vector<int32_t> list(candidates.begin(), candidates.end());
      std::vector<bool> take(list.size(), false);
      std::fill_n(take.begin(), hot.size(), true);
      do {
        std::set<int32_t> chosen;
        for (size_t i = 0; i < list.size(); ++i)
          if (take[i]) chosen.insert(list[i]);
        int64_t& value = next.try_emplace(chosen, hits).first->second;
        value = std::max(value, hits);
      } while (std::prev_permutation(take.begin(), take.end()));
    }
    best = std::move(next);
  }
  int64_t most = 0;
  for (const auto& [hot, hits] : best) most = std::max(most, hits);
  return most;
}

TEST(Simulator, BeladyIsTheBestPossible) {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    for (const int32_t top_k : {1, 2}) {
      const RoutingTrace trace = RandomTrace(Model(1, 6, top_k), 14, {1, 1}, seed);
      for (const int32_t capacity : {1, 2, 3}) {
        const HotLists start = MostUsedPerLayer(trace.model, CountTraining(trace), capacity);
        for (const bool held_out : {true, false}) {
          const auto belady = Simulate(trace, start, {HotPolicy::kBelady},
                                       {.held_out_only = held_out, .threads = 1});
          if (!belady.ok()) continue;  // a short trace may have no held-out row
          EXPECT_EQ(belady->front().all().hits, BestPossible(trace, start[kDense], held_out))
              << "seed " << seed << ", top " << top_k << ", room for " << capacity;
        }
      }
    }
  }
}

TEST(Simulator, NoDemandPolicyBeatsBelady) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const RoutingTrace trace = RandomTrace(Model(2, 24, 4), 400, {1, 1}, seed);
    for (const int64_t capacity : {4, 11, 30}) {
      const HotLists start = MostUsed(trace.model, CountTraining(trace), capacity);
      for (const bool held_out : {true, false}) {
        const int64_t belady = RunOne(trace, start, HotPolicy::kBelady, held_out).all().hits;
        for (const HotPolicy policy : kHotPolicies)
          EXPECT_GE(belady, RunOne(trace, start, policy, held_out).all().hits) << Name(policy);
      }
    }
  }
}

TEST(Simulator, AllAreRightAtFullAndNoCapacity) {
  const RoutingTrace trace = RandomTrace(Model(3, 16, 4), 50, {1, 20}, 1);
  const RoutingCounts counts = CountTraining(trace);
  for (const HotPolicy policy : kHotPolicies) {
    const auto full = RunOne(trace, MostUsedPerLayer(trace.model, counts, 16), policy, true);
    EXPECT_EQ(full.all().hits, full.all().pairs) << Name(policy);
    EXPECT_EQ(full.moves, 0) << Name(policy);
    const auto none = RunOne(trace, MostUsed(trace.model, counts, 0), policy, true);
    EXPECT_EQ(none.all().hits, 0) << Name(policy);
    EXPECT_GT(none.all().pairs, 0) << Name(policy);
  }
}

TEST(Simulator, ThreadsChangeNothing) {
  const RoutingTrace trace = RandomTrace(Model(5, 32, 4), 300, {1, 7}, 5);
  const HotLists start = MostUsed(trace.model, CountTraining(trace), 40);
  for (const HotPolicy policy : kHotPolicies) {
    const SimulationResult one = RunOne(trace, start, policy, true, 1);
    const SimulationResult four = RunOne(trace, start, policy, true, 4);
    EXPECT_EQ(one.moves, four.moves) << Name(policy);
    for (int l = 0; l < 5; ++l) {
      EXPECT_EQ(one.layers[l].moves, four.layers[l].moves) << Name(policy);
      for (int phase = 0; phase < kPhases; ++phase)
        EXPECT_EQ(one.layers[l].counts[phase].hits, four.layers[l].counts[phase].hits)
            << Name(policy);
    }
    EXPECT_EQ(one.moves > 0, policy != HotPolicy::kStatic) << Name(policy);
  }
}

// Two prompts with different favourites: each decides as its sequence comes to decode, then both.
TEST(Simulator, PerPromptTakesWhatThePromptsUsed) {
  RoutingTrace trace{.model = Model(1, 8, 1)};
  const auto add = [&](std::vector<TraceRow> rows, std::vector<uint16_t> ids) {
    trace.steps.push_back({std::move(rows), std::move(ids)});
  };
  const auto prefill = [](uint32_t s) { return TraceRow{s, Phase::kPrefill}; };
  const auto decode = [](uint32_t s) { return TraceRow{s, Phase::kDecode}; };
  add({prefill(0), prefill(0), prefill(0)}, {4, 4, 5});  // misses: 0 and 1 are hot
  add({decode(0)}, {4});                                 // hot now: 4, 5
  add({decode(0)}, {7});
  add({decode(0), prefill(1), prefill(1)}, {5, 6, 6});
  add({decode(0), decode(1)}, {4, 6});  // 6 (all of the one prompt) and 4 (two thirds)
  add({decode(1)}, {5});                // nobody joined: still 6 and 4
  const SimulationResult result =
      RunOne(trace, {{}, {{0}, {1}}}, HotPolicy::kPerPrompt, /*held_out_only=*/false);
  EXPECT_EQ(result.of(Phase::kPrefill).hits, 0);
  EXPECT_EQ(result.of(Phase::kDecode).hits, 4);
  EXPECT_EQ(result.of(Phase::kDecode).pairs, 6);
  EXPECT_EQ(result.moves, 3);
}

TEST(Simulator, SaysWhatIsWrong) {
  const RoutingTrace trace = RandomTrace(Model(1, 8, 2), 1, {1, 1}, 1);
  RoutingTrace training = trace;
  for (TraceRow& row : training.steps[0].rows) row.sequence = 0;
  const auto message = [](const RoutingTrace& of, const HotLists& start) {
    return std::string(Simulate(of, start, {HotPolicy::kStatic}).status().message());
  };
  EXPECT_NE(message(training, {{}, {}}).find("held-out"), std::string::npos);
  EXPECT_NE(message({.model = trace.model}, {{}, {}}).find("empty"), std::string::npos);
  EXPECT_NE(message(trace, {{}}).find("1 layers"), std::string::npos);
  EXPECT_NE(message(trace, {{}, {{8}}}).find("expert 8"), std::string::npos);
  EXPECT_NE(message(trace, {{}, {{2}, {2}}}).find("twice"), std::string::npos);
}

}  // namespace
}  // namespace tandem
