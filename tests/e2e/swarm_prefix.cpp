// Not a test: a swarm of sub-agents whose prompts begin alike against as many unrelated prompts of
// the same length, on a real engine. Prints time, tokens computed and pages used.
//
//   swarm_prefix MODEL [agents] [prefix tokens] [own tokens] [answer tokens]
//
// A model with long positions:
//   tandem synth swarm --shape tiny --layers 2 --heads 2 --kv-lora-rank 32
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <random>
#include <thread>

#include "engine/engine.h"

namespace tandem {
namespace {

struct Swarm {
  int agents = 300, prefix = 8192, own = 32, answer = 16;
};

std::vector<int32_t> RandomIds(int tokens, int32_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % (vocab - 256));
  return ids;
}

void Run(const EngineOptions& options, const Swarm& swarm, bool alike) {
  auto engine = Engine::Create(options);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", std::string(engine.status().message()).c_str());
    std::exit(1);
  }
  const int32_t vocab = (*engine)->config().shape.vocab;
  std::latch ended(swarm.agents);
  std::atomic<int> wrong{0};
  std::atomic<int64_t> cached{0};
  const auto begin = std::chrono::steady_clock::now();
  for (int agent = 0; agent < swarm.agents; ++agent) {
    GenerationRequest request;
    request.prompt_ids = RandomIds(swarm.prefix, vocab, alike ? 1 : 1000 + agent);
    const auto own = RandomIds(swarm.own, vocab, 5000 + agent);
    request.prompt_ids.insert(request.prompt_ids.end(), own.begin(), own.end());
    request.max_tokens = swarm.answer;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    request.fair_share = "swarm";
    request.on_event = [&](const GenerationEvent& event) {
      if (!event.finish) return;
      wrong += event.finish != FinishReason::kLength;
      cached += event.usage.cached_tokens;
      ended.count_down();
    };
    wrong += !(*engine)->Submit(std::move(request)).ok();
  }
  int64_t most_used = 0;
  while (!ended.try_wait()) {
    most_used = std::max(most_used, (*engine)->stats().kv_pages_used);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const EngineStats stats = (*engine)->stats();
  std::printf(
      "%-10s %4d prompts of %d + %d tokens: %8.2f s, %9lld prompt tokens computed, %9lld from the "
      "cache, %6lld pages at most, %lld preemptions, %d failed\n",
      alike ? "sub-agents" : "unrelated", swarm.agents, swarm.prefix, swarm.own, seconds,
      static_cast<long long>(stats.prompt_tokens), static_cast<long long>(cached.load()),
      static_cast<long long>(most_used), static_cast<long long>(stats.preemptions), wrong.load());
  std::fflush(stdout);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: swarm_prefix MODEL [agents] [prefix] [own] [answer]\n");
    return 2;
  }
  tandem::Swarm swarm;
  int* const numbers[] = {&swarm.agents, &swarm.prefix, &swarm.own, &swarm.answer};
  for (int i = 2; i < argc && i < 6; ++i) *numbers[i - 2] = std::atoi(argv[i]);
  tandem::EngineOptions options;
  options.model_dir = argv[1];
  options.max_queue = swarm.agents;
  options.kv_tokens = int64_t{64} * (swarm.prefix + swarm.own + swarm.answer + 64);
  tandem::Run(options, swarm, true);
  tandem::Run(options, swarm, false);
}
