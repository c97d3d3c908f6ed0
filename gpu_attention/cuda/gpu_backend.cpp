#include "gpu_attention/cuda/gpu_backend.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "gpu_attention/cuda/hot_experts.h"
#include "gpu_attention/cuda/sampling.h"
#include "gpu_attention/weight_checks.h"

namespace tandem::TANDEM_GPU {
namespace {

constexpr size_t kMostGraphs = 256;

// What the kernels can serve, beyond CheckShape().
absl::Status CheckGpuShape(const ModelShape& s) {
  struct Dim {
    const char* name;
    int32_t value, unit, most;
  };
  for (const Dim& d :
       {Dim{"hidden", s.hidden, 32, 12288}, Dim{"kv_lora_rank", s.kv_lora_rank, 8, 512},
        Dim{"q_lora_rank", s.q_lora_rank, 4, 12288}, Dim{"qk_rope_dim", s.qk_rope_dim, 8, 64},
        Dim{"qk_nope_dim + qk_rope_dim", s.qk_dim(), 4, 192}, Dim{"v_dim", s.v_dim, 4, 128},
        Dim{"dense_intermediate", s.dense_layers > 0 ? s.dense_intermediate : 0, 4, 1 << 20},
        Dim{"shared_intermediate", s.moe_layers() > 0 ? s.shared_intermediate() : 0, 4, 1 << 20},
        Dim{"expert_intermediate", s.moe_layers() > 0 ? s.expert_intermediate : 0, 32, 1 << 20}}) {
    if (d.value % d.unit == 0 && d.value <= d.most) continue;
    return absl::InvalidArgumentError(absl::StrCat("model shape: ", d.name, " is ", d.value,
                                                   ", the GPU's kernels take multiples of ", d.unit,
                                                   " up to ", d.most));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DenseBackend>> GpuBackend::Create(const ModelShape& shape,
                                                                 const DenseBackendOptions& options,
                                                                 const GpuOptions& gpu) {
  TANDEM_RETURN_IF_ERROR(CheckShape(shape));
  TANDEM_RETURN_IF_ERROR(CheckGpuShape(shape));
  if (options.dtype != DenseDType::kBf16) {
    return absl::InvalidArgumentError(
        "on a GPU the dense side is held in bf16; int8 is for the CPU only");
  }
  if (options.max_tokens < 1 || options.kv_pages < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens and kv_pages must be 1 or more; got ", options.max_tokens, " and ",
                     options.kv_pages));
  }
  TANDEM_ASSIGN_OR_RETURN(const DeviceProperties device, OpenDevice(gpu.device));
  TANDEM_ASSIGN_OR_RETURN(Stream stream, Stream::Create());
  std::unique_ptr<GpuBackend> backend(new GpuBackend(std::move(stream), gpu));
  TANDEM_RETURN_IF_ERROR(backend->Reserve(shape, device, options));
  return backend;
}

absl::Status GpuBackend::Reserve(const ModelShape& shape, const DeviceProperties& device,
                                 const DenseBackendOptions& options) {
  Workspace::Needs needs = {.max_rows = options.max_tokens,
                            .longest = std::min<int64_t>(shape.max_positions + kPageTokens,
                                                         options.kv_pages * kPageTokens),
                            .experts = shape.moe_layers() > 0,
                            .device = device};
  ShardedLayout cut;
  if (needs.experts) {
    cut = ShardedLayout(shape.hidden, shape.expert_intermediate, options_.expert_shards);
    needs.cuts = CutsOf(cut);
  }
  TANDEM_ASSIGN_OR_RETURN(layers_, GpuLayers::Create(shape, options.kv_pages, needs, stream_));
  TANDEM_ASSIGN_OR_RETURN(inputs_, StepInputs::Create(shape));
  if (needs.experts) {
    TANDEM_ASSIGN_OR_RETURN(mailbox_, Mailbox::Create({.layers = shape.layers,
                                                       .parts = 2,
                                                       .rows = options.max_tokens,
                                                       .hidden = shape.hidden,
                                                       .top_k = shape.top_k},
                                                      options_.timeout));
    TANDEM_ASSIGN_OR_RETURN(
        pool_, HotPool::Create(shape, cut, options_.hot_experts, options_.spare_experts));
    if (options_.spare_experts > 0) {
      TANDEM_ASSIGN_OR_RETURN(replacer_, HotReplacer::Create(*pool_));
    }
    TANDEM_ASSIGN_OR_RETURN(streamer_,
                            ExpertStreamer::Create({.hidden = shape.hidden,
                                                    .top_k = shape.top_k,
                                                    .experts = shape.experts,
                                                    .max_rows = options.max_tokens,
                                                    .buffer_bytes = options_.stream_buffer_bytes,
                                                    .layout = cut},
                                                   stream_));
  }
  TANDEM_ASSIGN_OR_RETURN(drained_, Event::Create());
  TANDEM_ASSIGN_OR_RETURN(
      logits_, PinnedBuffer::Allocate(sizeof(float) * kLogitRows * shape.vocab, "logits"));
  TANDEM_ASSIGN_OR_RETURN(how_,
                          PinnedBuffer::Allocate(kLogitRows * sizeof(RowSampling), "sampling"));
  TANDEM_ASSIGN_OR_RETURN(device_how_,
                          DeviceBuffer::Allocate(kLogitRows * sizeof(RowSampling), "sampling"));
  constexpr size_t kSampledBytes = kLogitRows * (sizeof(int32_t) + sizeof(float));
  TANDEM_ASSIGN_OR_RETURN(sampled_, PinnedBuffer::Allocate(kSampledBytes, "sampled tokens"));
  TANDEM_ASSIGN_OR_RETURN(device_sampled_, DeviceBuffer::Allocate(kSampledBytes, "sampled tokens"));
  return stream_.Synchronize();
}

// Nothing may wait for a CPU that is gone, nor work in memory that is.
GpuBackend::~GpuBackend() {
  if (has_experts()) mailbox_.Abandon();
  stream_.Synchronize().IgnoreError();
}

absl::Status GpuBackend::LoadGlobals(const GlobalWeights& weights) {
  return layers_->LoadGlobals(weights);
}

absl::Status GpuBackend::LoadLayer(LayerId layer, const LayerWeights& weights) {
  return layers_->LoadLayer(layer, weights);
}

absl::Status GpuBackend::BeginStep(const StepBatch& batch) {
  TANDEM_RETURN_IF_ERROR(broken_);
  TANDEM_RETURN_IF_ERROR(Recover());
  const auto rows = static_cast<int32_t>(batch.token_ids.size());
  TANDEM_CHECK(rows <= layers_->workspace().max_rows(), "a step has at most max_tokens tokens");
  TANDEM_ASSIGN_OR_RETURN(const bool grown, inputs_.Fill(batch, ++step_));
  if (grown || graphs_.size() > kMostGraphs) graphs_.clear();
  const int32_t second = batch.second_part_row;
  parts_ = second > 0 ? std::vector<RowRange>{{0, second}, {second, rows - second}}
                      : std::vector<RowRange>{{0, rows}};
  hot_by_kernel_ = rows <= kHotKernelRows;
  in_graph_ = options_.graphs && inputs_.all_single_rows() && rows <= kGraphRows;
  if (has_experts()) mailbox_.BeginStep(step_);
  if (in_graph_) return LaunchGraph();
  inputs_.Send(stream_);
  layers_->Embed(inputs_);
  return absl::OkStatus();
}

absl::Status GpuBackend::LaunchGraph() {
  auto found = graphs_.find(inputs_.key());
  if (found == graphs_.end()) {
    TANDEM_ASSIGN_OR_RETURN(Graph graph,
                            Graph::Record(stream_, [this](Stream&) { PutWholeStep(); }));
    found = graphs_.emplace(inputs_.key(), std::move(graph)).first;
  }
  found->second.Launch(stream_);
  return absl::OkStatus();
}

// The order of Model::Forward(): while the CPU has one part's experts, the GPU is at the other
// part.
void GpuBackend::PutWholeStep() {
  const ModelShape& shape = layers_->shape();
  const int parts = this->parts();
  inputs_.Send(stream_);
  layers_->Embed(inputs_);
  const auto start = [&](LayerId layer, int part) {
    layers_->Attention(layer, inputs_, parts_[part]);
    if (!shape.is_moe(layer.value)) return layers_->DenseMlp(layer, parts_[part]);
    PutRoute(layer, part);
    PutSharedExperts(layer, part);
  };
  for (int part = 0; part < parts; ++part) start({0}, part);
  for (LayerId layer{0}; layer.value < shape.layers; ++layer.value) {
    for (int part = 0; part < parts; ++part) {
      if (shape.is_moe(layer.value)) PutAddExperts(layer, part);
      if (layer.value + 1 < shape.layers) start({layer.value + 1}, part);
    }
  }
}

void GpuBackend::Attention(LayerId layer, int part) {
  if (!in_graph_) layers_->Attention(layer, inputs_, parts_[part]);
}

void GpuBackend::DenseMlp(LayerId layer, int part) {
  if (!in_graph_) layers_->DenseMlp(layer, parts_[part]);
}

void GpuBackend::Route(LayerId layer, int part) {
  if (!in_graph_) PutRoute(layer, part);
}

void GpuBackend::SharedExperts(LayerId layer, int part) {
  if (!in_graph_) PutSharedExperts(layer, part);
}

void GpuBackend::PutRoute(LayerId layer, int part) {
  const ModelShape& s = layers_->shape();
  const Workspace& w = layers_->workspace();
  const RowRange range = parts_[part];
  layers_->Route(layer, range, pool_->table(layer));
  const int64_t first = range.first, rows = range.rows;
  mailbox_.Publish(stream_, layer, part, range.rows,
                   {w.x.part<bf16>(first * s.hidden, rows * s.hidden),
                    w.expert_ids.part<int32_t>(first * s.top_k, rows * s.top_k),
                    w.weights.part<float>(first * s.top_k, rows * s.top_k)},
                   inputs_.step());
}

void GpuBackend::PutSharedExperts(LayerId layer, int part) {
  const ModelShape& s = layers_->shape();
  const Workspace& w = layers_->workspace();
  const RowRange range = parts_[part];
  layers_->SharedExperts(layer, range);
  const HotPool& pool = *pool_;
  if (!hot_by_kernel_ || pool.capacity() == 0) return;
  const int64_t first = range.first, rows = range.rows;
  HotExperts(stream_, {.tokens = range.rows,
                       .top_k = s.top_k,
                       .experts = s.experts,
                       .multiprocessors = layers_->device().multiprocessors,
                       .cuts = CutsOf(pool.layout()),
                       .x = w.x.part<bf16>(first * s.hidden, rows * s.hidden),
                       .expert_ids = w.expert_ids.part<int32_t>(first * s.top_k, rows * s.top_k),
                       .weights = w.weights.part<float>(first * s.top_k, rows * s.top_k),
                       .slot_of = pool.table(layer),
                       .pool = pool.pool(),
                       .slot_stride = pool.slot_bytes(),
                       .workspace = w.hot_scratch.as<uint8_t>(),
                       .y = w.own_sums.part<float>(first * s.hidden, rows * s.hidden)});
}

absl::StatusOr<RoutedTokens> GpuBackend::Routed(LayerId layer, int part) {
  TANDEM_RETURN_IF_ERROR(failed_);
  own_sums_ = hot_by_kernel_ && pool_->capacity() > 0;
  if (const absl::Status status = mailbox_.AwaitRows(layer, part, stream_); !status.ok())
    return GiveUp(status);
  return mailbox_.Rows(part, parts_[part].rows);
}

absl::Status GpuBackend::ComputeExperts(LayerId layer, int part, const RoutedTokens& routed,
                                        std::span<const Work> work) {
  TANDEM_CHECK(!hot_by_kernel_ && parts_.size() == 1, "lists of experts are for larger steps");
  const ModelShape& s = layers_->shape();
  const Workspace& w = layers_->workspace();
  const int64_t rows = parts_[part].rows;
  own_sums_ = true;
  return streamer_->Compute(layer, routed, work, *pool_, w.x.part<bf16>(0, rows * s.hidden),
                            w.own_sums.part<float>(0, rows * s.hidden));
}

void GpuBackend::AddExperts(LayerId layer, int part) {
  mailbox_.RingAnswered(layer, part);
  if (!in_graph_) PutAddExperts(layer, part);
}

void GpuBackend::PutAddExperts(LayerId layer, int part) {
  const ModelShape& s = layers_->shape();
  const Workspace& w = layers_->workspace();
  const int64_t first = int64_t{parts_[part].first} * s.hidden;
  const int64_t elems = int64_t{parts_[part].rows} * s.hidden;
  const bool own = in_graph_ ? hot_by_kernel_ && pool_->capacity() > 0 : own_sums_;
  mailbox_.AddAnswer(stream_, layer, part, parts_[part].rows, w.h.part<float>(first, elems),
                     own ? w.own_sums.part<float>(first, elems) : Global<float>(nullptr),
                     inputs_.step());
}

absl::StatusOr<View<const float, 2>> GpuBackend::Logits(std::span<const int32_t> rows) {
  TANDEM_RETURN_IF_ERROR(failed_);
  const int64_t vocab = layers_->shape().vocab;
  const auto n = static_cast<int64_t>(rows.size());
  if (n > kLogitRows) many_logits_.resize(n * vocab);
  for (int64_t begin = 0; begin < n; begin += kLogitRows) {
    const int64_t count = std::min<int64_t>(kLogitRows, n - begin);
    layers_->Head(rows.subspan(begin, count));
    stream_.CopyToHost<float>(logits_.host<float>(),
                              layers_->workspace().logits.part<float>(0, count * vocab),
                              count * vocab);
    TANDEM_RETURN_IF_ERROR(Finish());
    if (n > kLogitRows)
      std::copy_n(logits_.host<float>(), count * vocab, many_logits_.data() + begin * vocab);
  }
  return View<const float, 2>(n > kLogitRows ? many_logits_.data() : logits_.host<float>(),
                              {n, vocab});
}

absl::StatusOr<std::vector<SampledToken>> GpuBackend::Sample(std::span<const int32_t> rows,
                                                             std::span<const RowSampling> how) {
  TANDEM_RETURN_IF_ERROR(failed_);
  TANDEM_CHECK(how.size() == rows.size(), "every row says how");
  const int32_t vocab = layers_->shape().vocab;
  std::vector<SampledToken> tokens;
  for (size_t begin = 0; begin < rows.size(); begin += kLogitRows) {
    const auto count = static_cast<int32_t>(std::min<size_t>(kLogitRows, rows.size() - begin));
    layers_->Head(rows.subspan(begin, count));
    std::copy_n(how.begin() + begin, count, how_.host<RowSampling>());
    const auto device_how = device_how_.part<RowSampling>(0, count);
    stream_.CopyToDevice(device_how, how_.host<RowSampling>(), count);
    const auto ids = device_sampled_.part<int32_t>(0, kLogitRows);
    const auto logprobs = device_sampled_.part<float>(kLogitRows, kLogitRows);
    SampleTokens(stream_,
                 {.rows = count,
                  .vocab = vocab,
                  .logits = layers_->workspace().logits.part<float>(0, int64_t{count} * vocab),
                  .how = device_how,
                  .ids = ids,
                  .logprobs = logprobs});
    stream_.CopyToHost<int32_t>(sampled_.host<int32_t>(), ids, count);
    stream_.CopyToHost<float>(sampled_.host<float>() + kLogitRows, logprobs, count);
    TANDEM_RETURN_IF_ERROR(Finish());
    for (int32_t i = 0; i < count; ++i)
      tokens.push_back({sampled_.host<int32_t>()[i], sampled_.host<float>()[kLogitRows + i]});
  }
  return tokens;
}

absl::Status GpuBackend::Finish() {
  absl::Status status = stream_.Synchronize();
  if (status.ok() && has_experts()) status = mailbox_.CheckDevice();
  return status.ok() ? status : GiveUp(status);
}

absl::Status GpuBackend::GiveUp(const absl::Status& why) {
  if (has_experts()) mailbox_.Abandon();
  failed_ = why;
  return why;
}

// Lets the last step run out before the next one writes its inputs. Normally it has.
absl::Status GpuBackend::Recover() {
  const bool lost = !failed_.ok();
  if (lost) LogWarning("the GPU gives up a step: {}", std::string(failed_.message()));
  failed_ = absl::OkStatus();
  drained_->Record(stream_);
  const auto begin = std::chrono::steady_clock::now();
  while (!drained_->IsDone()) {
    if (std::chrono::steady_clock::now() - begin > 2 * options_.timeout) {
      broken_ = absl::UnavailableError(
          absl::StrCat("the GPU is still at step ", step_, " and does not come to an end"));
      return broken_;
    }
    std::this_thread::yield();
  }
  if (has_experts() && !lost) {
    // A step without logits was not asked about yet.
    const absl::Status status = mailbox_.CheckDevice();
    if (!status.ok()) return GiveUp(status);
  }
  broken_ = stream_.status();
  return broken_;
}

absl::Status GpuBackend::MakeHot(LayerId layer, ExpertId expert, const ExpertShards& bytes,
                                 const ExpertId* instead_of) {
  TANDEM_RETURN_IF_ERROR(stream_.Synchronize());
  return pool_->Put(layer, expert, bytes, instead_of, stream_);
}

absl::Status GpuBackend::ReadHot(LayerId layer, ExpertId expert,
                                 const std::vector<std::span<std::byte>>& bytes) {
  return pool_->Read(layer, expert, bytes, stream_);
}

absl::Status GpuBackend::BeginReplace(const HotReplacement& what, const ExpertShards& bytes,
                                      const std::vector<std::span<std::byte>>& read_back) {
  if (replacer_ == nullptr) return ExpertDevice::BeginReplace(what, bytes, read_back);
  return replacer_->Begin(what, bytes, read_back);
}

// The next step waits for the last one's end anyway (Recover()), so this may.
std::vector<FinishedReplacement> GpuBackend::FinishReplaces() {
  if (replacer_ == nullptr || !replacer_->any_copied() || !failed_.ok()) return {};
  if (!stream_.Synchronize().ok()) return {};
  return replacer_->Finish(stream_);
}

absl::Status GpuBackend::PinHostMemory(std::span<const std::byte> memory) {
  TANDEM_ASSIGN_OR_RETURN(PinnedRegion region, PinnedRegion::Pin(memory));
  pinned_.push_back(std::move(region));
  return absl::OkStatus();
}

std::string GpuBackend::description() const {
  std::string text = absl::StrCat(layers_->device().name, ", bf16");
  if (has_experts() && pool_->capacity() > 0)
    absl::StrAppend(&text, ", room for ", pool_->capacity(), " hot experts");
  if (has_experts() && streamer_->streams())
    absl::StrAppend(&text, ", streams experts in groups of ", streamer_->group());
  return text;
}

}  // namespace tandem::TANDEM_GPU
