// Streams, events and graphs of the emulated GPU. A stream is a thread of its own, so copies,
// kernels and the host really run at the same time.
#include "gpu_attention/cuda/runtime.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gpu_attention/cuda/launch.h"
#include "gpu_attention/emulation/emulated_device.h"
#include "gpu_attention/emulation/grid.h"
#include "gpu_attention/emulation/stream_impl.h"

namespace tandem::emulated {

Stream::Impl::Impl() : worker_(std::make_unique<ReusedThread>([this] { Loop(); })) {}

Stream::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  worker_.reset();
}

void Stream::Impl::Put(Work work) {
  if (recording != nullptr) {
    recording->push_back(std::move(work));
    return;
  }
  PutAlways([this, work = std::move(work)] {
    if (status().ok()) Fail(work());
  });
}

void Stream::Impl::PutAlways(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Stream::Impl::Fail(absl::Status status) {
  const std::lock_guard lock(mutex_);
  status_.Update(status);
}

absl::Status Stream::Impl::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Stream::Impl::WaitUntilIdle() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

// Ends when all work is done.
void Stream::Impl::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    {
      const std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      work();
    }
    lock.lock();
    busy_ = false;
    if (queue_.empty()) changed_.notify_all();
  }
}

// --------------------------------------------------------------------------------------------

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

absl::StatusOr<Stream> Stream::Create() { return Stream(std::make_unique<Impl>()); }

absl::Status Stream::Synchronize() {
  TANDEM_CHECK(impl_->recording == nullptr, "nothing is waited for while a graph is recorded");
  impl_->WaitUntilIdle();
  return impl_->status();
}
absl::Status Stream::status() const { return impl_->status(); }
void Stream::Fail(absl::Status status) { impl_->Fail(std::move(status)); }

void Stream::CopyBytes(void* to, const void* from, size_t bytes, const char* what) {
  if (bytes == 0) return;
  const bool pageable = !IsDeviceOrPinned(to) || !IsDeviceOrPinned(from);
  if (pageable && impl_->recording != nullptr) {
    return Fail(absl::FailedPreconditionError(
        absl::StrCat(what, ": a graph may copy page-locked memory only")));
  }
  impl_->Put([=] {
    std::memcpy(to, from, bytes);
    return absl::OkStatus();
  });
  if (pageable) impl_->WaitUntilIdle();
}

void Stream::FillBytes(void* to, size_t bytes) {
  impl_->Put([=] {
    std::memset(to, 0, bytes);
    return absl::OkStatus();
  });
}

void LaunchBlocks(Stream& stream, const char* name, const LaunchShape& shape,
                  std::function<void()> thread) {
  const auto refuse = [&](const std::string& what) {
    stream.Fail(absl::InvalidArgumentError(absl::StrCat("kernel ", name, ": ", what)));
  };
  if (shape.threads == 0 || shape.threads > 1024 || shape.threads % 32 != 0) {
    return refuse(absl::StrCat("a block of ", shape.threads, " threads"));
  }
  if (shape.shared_bytes > SharedBytesPerBlock()) {
    return refuse(absl::StrCat(shape.shared_bytes, " bytes of shared memory, the device has ",
                               SharedBytesPerBlock()));
  }
  if (shape.blocks_x > 0x7fffffffu || shape.blocks_y > 65535 || shape.blocks_z > 65535) {
    return refuse(absl::StrCat("a grid of ", shape.blocks_x, " x ", shape.blocks_y, " x ",
                               shape.blocks_z, " blocks"));
  }
  stream.impl()->Put([=, thread = std::move(thread)] { return RunGrid(name, shape, thread); });
}

// --------------------------------------------------------------------------------------------

// Shared with the streams that are to reach it.
struct EventState {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t recorded = 0, done = 0;  // how often
  std::chrono::steady_clock::time_point time;

  void WaitFor(uint64_t times) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done >= times; });
  }
};
struct Event::Impl {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};

Event::Event(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;

absl::StatusOr<Event> Event::Create() { return Event(std::make_unique<Impl>()); }

void Event::Record(Stream& stream) {
  TANDEM_CHECK(stream.impl()->recording == nullptr, "a graph records no events");
  const std::lock_guard lock(impl_->state->mutex);
  ++impl_->state->recorded;
  stream.impl()->PutAlways([state = impl_->state] {
    const std::lock_guard lock(state->mutex);
    ++state->done;
    state->time = std::chrono::steady_clock::now();
    state->changed.notify_all();
  });
}

bool Event::IsDone() const {
  const std::lock_guard lock(impl_->state->mutex);
  return impl_->state->done == impl_->state->recorded;
}

absl::Status Event::Synchronize() const {
  impl_->state->WaitFor(impl_->state->recorded);
  return absl::OkStatus();
}

double Event::ElapsedMs(const Event& begin, const Event& end) {
  return std::chrono::duration<double, std::milli>(end.impl_->state->time -
                                                   begin.impl_->state->time)
      .count();
}

void Stream::Wait(const Event& event) {
  TANDEM_CHECK(impl_->recording == nullptr, "a graph waits for no events");
  impl_->PutAlways([state = event.impl()->state, times = event.impl()->state->recorded] {
    state->WaitFor(times);
  });
}

// --------------------------------------------------------------------------------------------

struct Graph::Impl {
  std::shared_ptr<std::vector<Stream::Impl::Work>> works =
      std::make_shared<std::vector<Stream::Impl::Work>>();
};

Graph::Graph(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

absl::StatusOr<Graph> Graph::Record(Stream& stream, const std::function<void(Stream&)>& record) {
  TANDEM_CHECK(stream.impl()->recording == nullptr, "one graph is recorded at a time");
  auto impl = std::make_unique<Impl>();
  stream.impl()->recording = impl->works.get();
  record(stream);
  stream.impl()->recording = nullptr;
  TANDEM_RETURN_IF_ERROR(stream.status());
  return Graph(std::move(impl));
}

void Graph::Launch(Stream& stream) const {
  stream.impl()->Put([works = impl_->works] {
    for (const auto& work : *works) TANDEM_RETURN_IF_ERROR(work());
    return absl::OkStatus();
  });
}

}  // namespace tandem::emulated
