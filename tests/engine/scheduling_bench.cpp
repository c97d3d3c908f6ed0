// Not a test: what the scheduler and the prefix cache cost, without any model.
//
//   decode step of 64 to 1,024 sequences, plan and books: what is added to a step's time
//   submit: a prompt of 100,000 tokens until the call returns
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "tests/engine/fake_backend.h"

namespace tandem {
namespace {

double Micros(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

void Print(const char* what, std::vector<double> us) {
  std::ranges::sort(us);
  std::printf("%-58s median %9.1f us, 99 %% %9.1f us\n", what, us[us.size() / 2],
              us[us.size() * 99 / 100]);
}

std::vector<int32_t> Prompt(int tokens, int shared, int who) {
  std::vector<int32_t> ids(tokens);
  for (int i = 0; i < tokens; ++i) ids[i] = i < shared ? i % 89 : (i * 31 + who * 7) % 95;
  if (shared < tokens) ids[shared] = who;
  return ids;
}

// Sequences of 8K tokens, half of them shared, that decode `steps` tokens in a cache of `pages`.
void DecodeSteps(const char* what, int sequences, int64_t n_pages, bool caches, int steps) {
  testing::FakeTokenizer tokenizer;
  KvPages pages(n_pages);
  PrefixCache cache(pages, PageHasher("bench"));
  Scheduler scheduler({.prefill_chunk = 8192, .max_sequences = sequences}, cache,
                      [](int32_t, int32_t) {});
  for (int i = 0; i < sequences; ++i) {
    GenerationRequest request;
    request.prompt_ids = Prompt(8192, 4096, i);
    auto sequence = std::make_unique<Sequence>(std::move(request), 1, tokenizer,
                                               Sequence::Limits{262144, {}}, nullptr);
    if (caches) sequence->set_chain(cache.MakeChain("", sequence->ids()));
    sequence->set_number(i);
    scheduler.Enqueue(std::move(sequence));
  }
  std::vector<double> us;
  for (int step = 0; std::ssize(us) < steps; ++step) {
    const auto begin = Clock::now();
    const auto plan = scheduler.Plan(begin);
    double spent = Micros(begin);
    const bool decodes = std::ssize(plan) == sequences && !plan.front().sequence->prefilling();
    for (const auto& [sequence, tokens] : plan) {
      sequence->AddCached(tokens);
      if (!sequence->prefilling()) sequence->Accept({(step * 13 + 5) % 90, 0, {}}, begin);
    }
    const auto after = Clock::now();
    scheduler.Reap();
    if (decodes) us.push_back(spent + Micros(after));
  }
  scheduler.EndAll(FinishReason::kCancelled, absl::OkStatus(), Clock::now());
  Print(what, us);
}

void Submits(bool cache) {
  testing::FakeEngineOptions options{.kv_pages = 2000, .context = 120000};
  options.engine.prefix_cache = cache;
  const auto engine = testing::MakeFakeEngine(options, std::make_shared<testing::FakeControls>());
  std::vector<double> us;
  for (int i = 0; i < 30; ++i) {
    GenerationRequest request;
    request.prompt_ids = Prompt(100000, 0, i);
    const auto begin = Clock::now();
    const auto generation = engine->Submit(std::move(request));
    us.push_back(Micros(begin));
    (*generation)->Cancel();
    while (engine->stats().running + engine->stats().waiting > 0) std::this_thread::yield();
  }
  Print(cache ? "submit of 100,000 tokens, with the prefix cache" : "submit of 100,000 tokens", us);
}

}  // namespace
}  // namespace tandem

int main() {
  using namespace tandem;
  DecodeSteps("64 decode rows, no prefix cache", 64, 100000, false, 5000);
  DecodeSteps("64 decode rows, prefix cache", 64, 100000, true, 5000);
  DecodeSteps("64 decode rows, prefix cache, claims beyond the cache", 64, 12000, true, 3000);
  DecodeSteps("256 decode rows, claims beyond the cache", 256, 48000, true, 1000);
  DecodeSteps("1,024 decode rows, claims beyond the cache", 1024, 192000, true, 300);
  Submits(false);
  Submits(true);
}
