// Not a test: what an interactive user notices of batch work beside. Prints the time to the first
// token and between tokens, median and 99th percentile, of requests that come one after another:
// without batch work, with batch work that keeps its steps short, and with batch work that does
// not.
//
//   batch_beside MODEL [batch step ms] [requests] [prompt] [answer] [dense dtype: bf16, int8]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "engine/engine.h"

namespace tandem {
namespace {

using SteadyClock = std::chrono::steady_clock;

struct Load {
  double batch_step_ms = 40;
  int requests = 30, prompt = 64, answer = 32;
};

double Ms(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

GenerationRequest Request(int32_t vocab, int prompt, int answer, uint32_t seed) {
  std::mt19937 random(seed);
  GenerationRequest request;
  for (int i = 0; i < prompt; ++i)
    request.prompt_ids.push_back(static_cast<int32_t>(random() % (vocab - 256)));
  request.max_tokens = answer;
  request.ignore_eos = true;
  request.sampling.temperature = 0;
  return request;
}

struct Latencies {
  std::vector<double> first_ms, between_ms;
};

// One request after another, a little apart, so that they arrive at any moment of a step.
Latencies Ask(Engine& engine, const Load& load) {
  Latencies latencies;
  std::mt19937 random(7);
  for (int i = 0; i < load.requests; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 50'000));
    GenerationRequest request =
        Request(engine.config().shape.vocab, load.prompt, load.answer, 1000 + i);
    request.priority = Priority::kInteractive;
    const auto begin = SteadyClock::now();
    auto last = begin;
    request.on_event = [&](const GenerationEvent& event) {
      if (event.tokens.empty()) return;
      const auto now = SteadyClock::now();
      (last == begin ? latencies.first_ms : latencies.between_ms).push_back(Ms(last, now));
      last = now;
    };
    if (!RunToEnd(engine, std::move(request)).ok()) std::abort();
  }
  return latencies;
}

// Keeps so many batch requests in flight, long prompts and long answers, until it is destroyed.
class BatchWork {
 public:
  BatchWork(Engine& engine, int in_flight) : engine_(engine) {
    for (int i = 0; i < in_flight; ++i) Submit();
    feeder_ = std::thread([this] { Feed(); });
  }
  ~BatchWork() {
    stop_ = true;
    feeder_.join();
    for (const auto& handle : handles_) handle->Cancel();
    while (in_flight_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int64_t tokens() const { return tokens_; }

 private:
  void Submit() {
    GenerationRequest request = Request(engine_.config().shape.vocab, 256, 200, ++seed_);
    request.priority = Priority::kBatch;
    request.on_event = [this](const GenerationEvent& event) {
      tokens_ += static_cast<int64_t>(event.tokens.size());
      if (!event.finish) return;
      --in_flight_;
      ++ended_;
    };
    ++in_flight_;
    handles_.push_back(*engine_.Submit(std::move(request)));
  }
  void Feed() {
    for (int seen = 0; !stop_; std::this_thread::sleep_for(std::chrono::milliseconds(2)))
      for (; seen < ended_; ++seen) Submit();
  }

  Engine& engine_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> in_flight_ = 0, ended_ = 0;
  std::atomic<int64_t> tokens_ = 0;
  uint32_t seed_ = 1 << 20;
  std::vector<std::shared_ptr<Generation>> handles_;
  std::thread feeder_;
};

void Print(const char* what, Latencies latencies, double batch_tok_per_s) {
  const auto quantile = [](std::vector<double>& values, double q) {
    std::ranges::sort(values);
    return values[std::min(values.size() - 1, static_cast<size_t>(q * values.size()))];
  };
  std::printf(
      "%-32s first token %8.1f ms, 99 %% %8.1f   between tokens %7.1f ms, 99 %% %7.1f   batch "
      "%7.1f "
      "tok/s\n",
      what, quantile(latencies.first_ms, 0.5), quantile(latencies.first_ms, 0.99),
      quantile(latencies.between_ms, 0.5), quantile(latencies.between_ms, 0.99), batch_tok_per_s);
  std::fflush(stdout);
}

void Run(EngineOptions options, const Load& load, bool batch, const char* what) {
  auto engine = Engine::Create(options);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", std::string(engine.status().message()).c_str());
    std::exit(1);
  }
  Ask(**engine, {.requests = 2, .prompt = load.prompt, .answer = 4});
  if (!batch) return Print(what, Ask(**engine, load), 0);
  const BatchWork work(**engine, 32);
  std::this_thread::sleep_for(std::chrono::seconds(3));  // until it has found its pace
  const int64_t before = work.tokens();
  const auto begin = SteadyClock::now();
  Latencies latencies = Ask(**engine, load);
  const double seconds = Ms(begin, SteadyClock::now()) / 1000;
  Print(what, std::move(latencies), static_cast<double>(work.tokens() - before) / seconds);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  if (argc < 2) {
    std::fprintf(
        stderr, "usage: batch_beside MODEL [batch step ms] [requests] [prompt] [answer] [dtype]\n");
    return 2;
  }
  Load load;
  if (argc > 2) load.batch_step_ms = std::atof(argv[2]);
  int* const numbers[] = {&load.requests, &load.prompt, &load.answer};
  for (int i = 3; i < argc && i < 6; ++i) *numbers[i - 3] = std::atoi(argv[i]);
  EngineOptions options;
  options.model_dir = argv[1];
  options.kv_tokens = 64 * 1024;
  if (argc > 6 && std::strcmp(argv[6], "int8") == 0) options.dense_dtype = DenseDType::kInt8;
  Run(options, load, false, "without batch work");
  options.batch_step_ms = load.batch_step_ms;
  Run(options, load, true, "batch work in short steps");
  options.batch_step_ms = 0;
  Run(options, load, true, "batch work in full steps");
}
