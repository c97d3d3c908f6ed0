// Exchanges hot experts while steps run: a thread copies the new one into a spare slot of the pool,
// which nothing reads; between two steps the layer's table is turned over to it, and the old one's
// slot is the next spare. Nobody waits for a copy.
//
// A thread of its own because a copy from memory that is not page-locked holds up whoever asks for
// it. All calls come from the backend's thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "core/status.h"
#include "gpu_attention/cuda/hot_pool.h"
#include "gpu_attention/cuda/runtime.h"
#include "gpu_attention/expert_device.h"

namespace tandem::TANDEM_GPU {

class HotReplacer {
 public:
  // `pool` must outlive it.
  static absl::StatusOr<std::unique_ptr<HotReplacer>> Create(HotPool& pool);
  // Waits for the copy that is running; those behind it are not begun.
  ~HotReplacer();

  // As ExpertDevice::BeginReplace().
  absl::Status Begin(const HotReplacement& what, const ExpertShards& bytes,
                     const std::vector<std::span<std::byte>>& read_back);
  // Whether Finish() has something to do.
  bool any_copied() const;
  // As ExpertDevice::FinishReplaces(). `stream` carries the tables; nothing that reads the pool may
  // be under way.
  std::vector<FinishedReplacement> Finish(Stream& stream);

 private:
  struct Job {
    HotReplacement what;
    int32_t slot = 0;  // a spare one
    Global<uint8_t> to;
    ExpertShards bytes;
    Global<const uint8_t> from;  // the outgoing expert's slot
    std::vector<std::span<std::byte>> read_back;
    double seconds = 0;
    absl::Status status;
  };

  HotReplacer(HotPool& pool, Stream stream) : pool_(pool), stream_(std::move(stream)) {}
  void Run();
  void Copy(Job& job);

  HotPool& pool_;
  Stream stream_;  // the thread's

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable work_;
  std::deque<Job> waiting_;
  std::vector<Job> copied_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace tandem::TANDEM_GPU
