// Streams, events and graphs on an NVIDIA GPU.
#include "gpu_attention/cuda/runtime.h"

#include <mutex>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "gpu_attention/cuda/cuda_call.h"
#include "gpu_attention/cuda/launch.h"

namespace tandem::cuda {

absl::Status ToStatus(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  return absl::InternalError(
      absl::StrCat(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

Stream::Impl::~Impl() {
  if (stream == nullptr) return;
  UseDevice();
  if (const absl::Status error = ToStatus(cudaStreamDestroy(stream), "stream"); !error.ok()) {
    LogWarning("GPU: {}", std::string(error.message()));
  }
}

bool Stream::Impl::Begin(const char* what) {
  if (!status.ok()) return false;
  UseDevice();
  last = what;
  return true;
}

void Stream::Impl::Keep(cudaError_t error, const std::string& what) {
  if (error != cudaSuccess) status.Update(ToStatus(error, what));
}

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

absl::StatusOr<Stream> Stream::Create() {
  UseDevice();
  auto impl = std::make_unique<Impl>();
  TANDEM_RETURN_IF_ERROR(
      ToStatus(cudaStreamCreateWithFlags(&impl->stream, cudaStreamNonBlocking), "new stream"));
  return Stream(std::move(impl));
}

absl::Status Stream::Synchronize() {
  TANDEM_CHECK(!impl_->recording, "nothing is waited for while a graph is recorded");
  UseDevice();
  impl_->Keep(cudaStreamSynchronize(impl_->stream),
              absl::StrCat("work up to kernel or copy '", impl_->last, "'"));
  return impl_->status;
}
// Asks the device, too: a kernel that faulted shows without waiting for the others.
absl::Status Stream::status() const {
  if (!impl_->status.ok() || impl_->recording) return impl_->status;
  UseDevice();
  const cudaError_t error = cudaStreamQuery(impl_->stream);
  if (error != cudaErrorNotReady)
    impl_->Keep(error, absl::StrCat("work up to kernel or copy '", impl_->last, "'"));
  return impl_->status;
}
void Stream::Fail(absl::Status status) { impl_->status.Update(status); }

namespace {
bool IsPageable(const void* p) {
  cudaPointerAttributes attributes;
  return ToStatus(cudaPointerGetAttributes(&attributes, p), "").ok() &&
         attributes.type == cudaMemoryTypeUnregistered;
}
}  // namespace

void Stream::CopyBytes(void* to, const void* from, size_t bytes, const char* what) {
  if (bytes == 0 || !impl_->Begin(what)) return;
  if (impl_->recording && (IsPageable(to) || IsPageable(from))) {
    return Fail(absl::FailedPreconditionError(
        absl::StrCat(what, ": a graph may copy page-locked memory only")));
  }
  impl_->Keep(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, impl_->stream), what);
}

void Stream::FillBytes(void* to, size_t bytes) {
  if (bytes == 0 || !impl_->Begin("fill")) return;
  impl_->Keep(cudaMemsetAsync(to, 0, bytes, impl_->stream), "fill");
}

namespace {
// More than 48 KiB of shared memory must be asked for once per kernel.
cudaError_t AllowShared(const void* kernel, size_t bytes) {
  constexpr size_t kAlways = 48 * 1024;
  static std::mutex mutex;
  static std::unordered_map<const void*, size_t> allowed;
  if (bytes <= kAlways) return cudaSuccess;
  const std::lock_guard lock(mutex);
  size_t& now = allowed[kernel];
  if (now >= bytes) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) now = bytes;
  return error;
}
}  // namespace

void LaunchKernel(Stream& stream, const char* name, const void* kernel, const LaunchShape& shape,
                  void** arguments) {
  Stream::Impl& impl = *stream.impl();
  if (!impl.Begin(name)) return;
  cudaError_t error = AllowShared(kernel, shape.shared_bytes);
  if (error == cudaSuccess) {
    error = cudaLaunchKernel(kernel, dim3(shape.blocks_x, shape.blocks_y, shape.blocks_z),
                             dim3(shape.threads), arguments, shape.shared_bytes, impl.stream);
  }
  if (error == cudaSuccess) return;
  impl.Keep(error, absl::StrCat("kernel ", name, ", ", shape.blocks_x, " x ", shape.blocks_y, " x ",
                                shape.blocks_z, " blocks of ", shape.threads, " threads with ",
                                shape.shared_bytes, " bytes of shared memory"));
}

// --------------------------------------------------------------------------------------------

struct Event::Impl {
  cudaEvent_t event = nullptr;
  ~Impl() {
    if (event != nullptr) cudaEventDestroy(event);
  }
};

Event::Event(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;
Event::~Event() = default;

absl::StatusOr<Event> Event::Create() {
  UseDevice();
  auto impl = std::make_unique<Impl>();
  TANDEM_RETURN_IF_ERROR(ToStatus(cudaEventCreate(&impl->event), "new event"));
  return Event(std::move(impl));
}

void Event::Record(Stream& stream) {
  TANDEM_CHECK(!stream.impl()->recording, "a graph records no events");
  UseDevice();
  stream.impl()->Keep(cudaEventRecord(impl_->event, stream.impl()->stream), "event");
}

bool Event::IsDone() const {
  UseDevice();
  const cudaError_t error = cudaEventQuery(impl_->event);
  if (error != cudaSuccess) cudaGetLastError();
  return error != cudaErrorNotReady;
}

absl::Status Event::Synchronize() const {
  UseDevice();
  return ToStatus(cudaEventSynchronize(impl_->event), "event");
}

double Event::ElapsedMs(const Event& begin, const Event& end) {
  float ms = 0;
  const absl::Status status =
      ToStatus(cudaEventElapsedTime(&ms, begin.impl_->event, end.impl_->event), "elapsed time");
  TANDEM_CHECK(status.ok(), "both events were recorded and are done");
  return ms;
}

void Stream::Wait(const Event& event) {
  TANDEM_CHECK(!impl_->recording, "a graph waits for no events");
  UseDevice();
  impl_->Keep(cudaStreamWaitEvent(impl_->stream, event.impl()->event, 0), "wait for an event");
}

// --------------------------------------------------------------------------------------------

struct Graph::Impl {
  cudaGraphExec_t exec = nullptr;
  ~Impl() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
  }
};

Graph::Graph(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

absl::StatusOr<Graph> Graph::Record(Stream& stream, const std::function<void(Stream&)>& record) {
  Stream::Impl& to = *stream.impl();
  TANDEM_CHECK(!to.recording, "one graph is recorded at a time");
  UseDevice();
  TANDEM_RETURN_IF_ERROR(to.status);
  TANDEM_RETURN_IF_ERROR(ToStatus(
      cudaStreamBeginCapture(to.stream, cudaStreamCaptureModeThreadLocal), "recording a graph"));
  to.recording = true;
  record(stream);
  to.recording = false;
  cudaGraph_t graph = nullptr;
  to.Keep(cudaStreamEndCapture(to.stream, &graph),
          absl::StrCat("recording a graph, up to '", to.last, "'"));
  auto impl = std::make_unique<Impl>();
  if (to.status.ok()) to.Keep(cudaGraphInstantiate(&impl->exec, graph, 0), "a graph");
  if (graph != nullptr) cudaGraphDestroy(graph);
  TANDEM_RETURN_IF_ERROR(to.status);
  return Graph(std::move(impl));
}

void Graph::Launch(Stream& stream) const {
  if (!stream.impl()->Begin("graph")) return;
  stream.impl()->Keep(cudaGraphLaunch(impl_->exec, stream.impl()->stream), "graph");
}

}  // namespace tandem::cuda
