#include "engine/constrain/grammar_store.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <list>
#include <mutex>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxWaitingJobs = 1024;
constexpr int kNiceness = 10;  // the engine's threads come first

// One grammar to be compiled; whoever wants the same one meanwhile waits for it, too.
struct Job {
  explicit Job(std::string text) : text(std::move(text)) {}

  const std::string text;
  Clock::time_point started{};  // epoch: not yet
  bool done = false;
  absl::StatusOr<CompiledGrammar> result = nullptr;
  int waiting = 0;  // callers
};

size_t CompilerThreads() { return std::clamp(std::thread::hardware_concurrency() / 4, 1u, 4u); }

absl::StatusOr<CompiledGrammar> CompileText(const xgrammar::TokenizerInfo& vocabulary,
                                            const std::string& text, int64_t max_bytes) {
  try {
    xgrammar::GrammarCompiler compiler(vocabulary, static_cast<int>(CompilerThreads()),
                                       /*cache_enabled=*/false);
    auto grammar = std::make_shared<const xgrammar::CompiledGrammar>(compiler.CompileGrammar(text));
    if (const auto bytes = static_cast<int64_t>(grammar->MemorySizeBytes()); bytes > max_bytes)
      return absl::InvalidArgumentError(absl::StrCat("the schema's grammar takes ", bytes >> 20,
                                                     " MiB, at most ", max_bytes >> 20,
                                                     " are allowed"));
    return grammar;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory to compile the schema");
  } catch (const std::exception&) {  // its text quotes the grammar
    return absl::InternalError("the schema's grammar was refused by the grammar compiler");
  }
}

}  // namespace

struct GrammarStore::Shared {
  Shared(const xgrammar::TokenizerInfo& vocabulary, const GrammarLimits& limits)
      : vocabulary(vocabulary), limits(limits) {}

  struct Kept {
    std::string text;
    CompiledGrammar grammar;
    int64_t bytes;
  };

  CompiledGrammar Find(const std::string& text);
  void Keep(const std::string& text, CompiledGrammar grammar);
  absl::StatusOr<std::shared_ptr<Job>> Enqueue(const std::string& text);
  absl::StatusOr<CompiledGrammar> Await(std::unique_lock<std::mutex>& lock, Job& job,
                                        Clock::time_point deadline);
  bool Stuck() const;

  const xgrammar::TokenizerInfo vocabulary;
  const GrammarLimits limits;

  std::mutex mutex;
  std::condition_variable work, done;
  bool stopping = false;
  size_t running = 0, threads = 0;
  std::deque<std::shared_ptr<Job>> queue;
  absl::flat_hash_map<std::string, std::shared_ptr<Job>> jobs;  // waiting and running
  std::list<Kept> kept;                                         // last used first
  absl::flat_hash_map<std::string_view, std::list<Kept>::iterator> kept_by_text;
  int64_t kept_bytes = 0;
};

CompiledGrammar GrammarStore::Shared::Find(const std::string& text) {
  const auto it = kept_by_text.find(text);
  if (it == kept_by_text.end()) return nullptr;
  kept.splice(kept.begin(), kept, it->second);
  return it->second->grammar;
}

void GrammarStore::Shared::Keep(const std::string& text, CompiledGrammar grammar) {
  const auto bytes = static_cast<int64_t>(grammar->MemorySizeBytes() + text.size());
  kept.push_front({text, std::move(grammar), bytes});
  kept_by_text[kept.front().text] = kept.begin();
  kept_bytes += bytes;
  while (kept_bytes > limits.cache_bytes) {
    kept_bytes -= kept.back().bytes;
    kept_by_text.erase(kept.back().text);
    kept.pop_back();
  }
}

// Whether every thread is at a grammar that nobody waits for any more.
bool GrammarStore::Shared::Stuck() const {
  size_t abandoned = 0;
  for (const auto& [text, job] : jobs)
    abandoned += job->started != Clock::time_point{} && job->waiting == 0;
  return abandoned >= threads;
}

absl::StatusOr<std::shared_ptr<Job>> GrammarStore::Shared::Enqueue(const std::string& text) {
  if (const auto it = jobs.find(text); it != jobs.end()) return it->second;
  if (Stuck() || queue.size() >= kMaxWaitingJobs)
    return absl::ResourceExhaustedError("too many schemas are being compiled, try again later");
  auto job = std::make_shared<Job>(text);
  jobs[text] = job;
  queue.push_back(job);
  work.notify_one();
  return job;
}

absl::StatusOr<CompiledGrammar> GrammarStore::Shared::Await(std::unique_lock<std::mutex>& lock,
                                                            Job& job, Clock::time_point deadline) {
  if (done.wait_until(lock, deadline, [&] { return job.done; })) return job.result;
  if (job.started == Clock::time_point{})
    return absl::ResourceExhaustedError("too many schemas are being compiled, try again later");
  return absl::InvalidArgumentError(absl::StrCat("compiling the schema took longer than ",
                                                 limits.max_compile_s, " s; make it simpler"));
}

GrammarStore::GrammarStore(const xgrammar::TokenizerInfo& vocabulary, const GrammarLimits& limits)
    : shared_(std::make_shared<Shared>(vocabulary, limits)) {
  shared_->threads = CompilerThreads();
  for (size_t i = 0; i < shared_->threads; ++i)
    threads_.emplace_back([shared = shared_] { Work(shared); });
}

GrammarStore::~GrammarStore() {
  bool idle;
  {
    std::unique_lock lock(shared_->mutex);
    shared_->stopping = true;
    shared_->queue.clear();
    shared_->work.notify_all();
    idle =
        shared_->done.wait_for(lock, std::chrono::duration<double>(shared_->limits.max_compile_s),
                               [&] { return shared_->running == 0; });
  }
  for (std::thread& thread : threads_) idle ? thread.join() : thread.detach();
}

absl::StatusOr<std::vector<CompiledGrammar>> GrammarStore::Get(
    const std::vector<std::string>& texts) {
  const auto deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(shared_->limits.max_compile_s));
  std::vector<CompiledGrammar> grammars(texts.size());
  std::vector<std::shared_ptr<Job>> jobs(texts.size());
  std::unique_lock lock(shared_->mutex);
  absl::Status status;
  for (size_t i = 0; i < texts.size() && status.ok(); ++i) {
    if ((grammars[i] = shared_->Find(texts[i]))) continue;
    absl::StatusOr<std::shared_ptr<Job>> job = shared_->Enqueue(texts[i]);
    if (job.ok()) ++(jobs[i] = *job)->waiting;
    status = std::move(job).status();
  }
  for (size_t i = 0; i < texts.size() && status.ok(); ++i) {
    if (!jobs[i]) continue;
    absl::StatusOr<CompiledGrammar> grammar = shared_->Await(lock, *jobs[i], deadline);
    if (grammar.ok()) grammars[i] = *grammar;
    status = std::move(grammar).status();
  }
  for (const std::shared_ptr<Job>& job : jobs)
    if (job) --job->waiting;
  if (!status.ok()) return status;
  return grammars;
}

void GrammarStore::Work(const std::shared_ptr<Shared>& shared) {
  setpriority(PRIO_PROCESS, 0, kNiceness);  // Linux: of this thread
  std::unique_lock lock(shared->mutex);
  for (;;) {
    shared->work.wait(lock, [&] { return shared->stopping || !shared->queue.empty(); });
    if (shared->stopping) return;
    const std::shared_ptr<Job> job = shared->queue.front();
    shared->queue.pop_front();
    job->started = Clock::now();
    ++shared->running;
    lock.unlock();
    absl::StatusOr<CompiledGrammar> result =
        CompileText(shared->vocabulary, job->text, shared->limits.max_compile_bytes);
    lock.lock();
    --shared->running;
    if (result.ok()) shared->Keep(job->text, *result);
    job->result = std::move(result);
    job->done = true;
    shared->jobs.erase(job->text);
    shared->done.notify_all();
  }
}

int64_t GrammarStore::cached_bytes() const {
  std::lock_guard lock(shared_->mutex);
  return shared_->kept_bytes;
}

int64_t GrammarStore::cached_grammars() const {
  std::lock_guard lock(shared_->mutex);
  return static_cast<int64_t>(shared_->kept.size());
}

}  // namespace tandem
