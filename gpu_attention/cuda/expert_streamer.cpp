#include "gpu_attention/cuda/expert_streamer.h"

#include <algorithm>

#include "gpu_attention/cuda/arrange_inputs.h"
#include "gpu_attention/cuda/expert_prefill.h"

namespace tandem::TANDEM_GPU {

absl::StatusOr<ExpertStreamer> ExpertStreamer::Create(const Shape& shape, Stream& stream) {
  ExpertStreamer s;
  s.shape_ = shape;
  s.stream_ = &stream;
  s.group_ = static_cast<int32_t>(
      std::min<int64_t>(shape.experts, shape.buffer_bytes / 2 / shape.layout.expert_bytes()));
  const int64_t rows = shape.max_rows, choices = rows * shape.top_k;
  TANDEM_ASSIGN_OR_RETURN(s.arranged_, DeviceBuffer::Allocate(rows * shape.hidden * sizeof(bf16),
                                                              "rows of streamed experts"));
  TANDEM_ASSIGN_OR_RETURN(s.h_,
                          DeviceBuffer::Allocate(rows * shape.layout.intermediate() * sizeof(bf16),
                                                 "rows inside streamed experts"));
  const size_t list_bytes = choices * (sizeof(int32_t) + sizeof(float));
  TANDEM_ASSIGN_OR_RETURN(s.lists_, PinnedBuffer::Allocate(list_bytes, "experts' rows"));
  TANDEM_ASSIGN_OR_RETURN(s.device_lists_, DeviceBuffer::Allocate(list_bytes, "experts' rows"));
  if (s.group_ == 0) return s;
  TANDEM_ASSIGN_OR_RETURN(s.copies_, Stream::Create());
  for (DeviceBuffer& buffer : s.buffers_) {
    TANDEM_ASSIGN_OR_RETURN(
        buffer, DeviceBuffer::Allocate(s.group_ * shape.layout.expert_bytes(), "streamed experts"));
    TANDEM_ASSIGN_OR_RETURN(Event filled, Event::Create());
    TANDEM_ASSIGN_OR_RETURN(Event used, Event::Create());
    used.Record(stream);
    s.filled_.push_back(std::move(filled));
    s.used_.push_back(std::move(used));
  }
  return s;
}

// Fills lists_ with the rows of all experts of `work`, one after the other.
void ExpertStreamer::ListRows(const RoutedTokens& routed,
                              std::span<const ExpertDevice::Work> work) {
  std::vector<int32_t> place(shape_.experts, -1);
  rows_.assign(work.size(), {});
  for (size_t i = 0; i < work.size(); ++i) place[work[i].expert.value] = static_cast<int32_t>(i);
  const auto for_each = [&](auto&& use) {
    for (int64_t t = 0; t < routed.expert_ids.dim(0); ++t) {
      for (int64_t k = 0; k < routed.expert_ids.dim(1); ++k) {
        const int32_t id = routed.expert_ids(t, k), expert = id < 0 ? ~id : id;
        if (place[expert] >= 0) use(rows_[place[expert]], t, routed.weights(t, k));
      }
    }
  };
  for_each([](Rows& rows, int64_t, float) { ++rows.count; });
  int32_t begin = 0;
  for (Rows& rows : rows_) {
    rows.begin = begin;
    begin += std::exchange(rows.count, 0);
  }
  int32_t* const ids = lists_.host<int32_t>();
  auto* const weights = reinterpret_cast<float*>(ids + int64_t{shape_.max_rows} * shape_.top_k);
  for_each([&](Rows& rows, int64_t t, float weight) {
    const int32_t at = rows.begin + rows.count++;
    ids[at] = static_cast<int32_t>(t);
    weights[at] = weight;
  });
}

void ExpertStreamer::Run(Global<const uint8_t> expert, Rows rows, Global<float> y) {
  const int64_t weights = int64_t{shape_.max_rows} * shape_.top_k;
  ExpertPrefill(*stream_, {.m = rows.count,
                           .cuts = CutsOf(shape_.layout),
                           .expert = expert,
                           .rows = device_lists_.part<int32_t>(rows.begin, rows.count),
                           .weights = device_lists_.part<float>(weights + rows.begin, rows.count),
                           .x = arranged_.as<bf16>(),
                           .h = h_.as<bf16>(),
                           .y = y});
}

void ExpertStreamer::StreamGroup(std::span<const ExpertDevice::Work> work,
                                 std::span<const Rows> rows, int buffer, Global<float> y) {
  const int64_t bytes = shape_.layout.expert_bytes();
  const auto place = [&](size_t i) { return buffers_[buffer].part<uint8_t>(i * bytes, bytes); };
  Stream& copies = *copies_;
  copies.Wait(used_[buffer]);
  for (size_t i = 0; i < work.size(); ++i)
    SendExpert(shape_.layout, *work[i].bytes, place(i), copies);
  filled_[buffer].Record(copies);
  stream_->Wait(filled_[buffer]);
  for (size_t i = 0; i < work.size(); ++i) Run(place(i), rows[i], y);
  used_[buffer].Record(*stream_);
}

absl::Status ExpertStreamer::Compute(LayerId layer, const RoutedTokens& routed,
                                     std::span<const ExpertDevice::Work> work, const HotPool& pool,
                                     Global<const bf16> x, Global<float> y) {
  const int64_t rows = routed.hidden.dim(0);
  stream_->FillZero(y, rows * shape_.hidden);
  if (work.empty()) return absl::OkStatus();
  ListRows(routed, work);
  stream_->CopyToDevice(device_lists_.as<std::byte>(), lists_.data(),
                        static_cast<int64_t>(lists_.bytes()));
  ArrangeInputs(*stream_, {.tokens = static_cast<int32_t>(rows),
                           .hidden = shape_.hidden,
                           .x = x,
                           .arranged = arranged_.part<bf16>(0, rows * shape_.hidden)});
  // What is there already first: meanwhile the first group arrives.
  std::vector<ExpertDevice::Work> streamed;
  std::vector<Rows> streamed_rows;
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i].bytes != nullptr) {
      TANDEM_CHECK(streams(), "there are buffers to stream into");
      streamed.push_back(work[i]);
      streamed_rows.push_back(rows_[i]);
      continue;
    }
    const int32_t slot = pool.slot_of(layer, work[i].expert);
    TANDEM_CHECK(slot >= 0, "an expert without bytes is hot");
    Run(pool.slot(slot), rows_[i], y);
  }
  for (size_t begin = 0, n = 0; begin < streamed.size(); begin += group_, ++n) {
    const size_t count = std::min<size_t>(group_, streamed.size() - begin);
    StreamGroup(std::span(streamed).subspan(begin, count),
                std::span(streamed_rows).subspan(begin, count), n % 2, y);
  }
  return copies_ ? copies_->status() : absl::OkStatus();
}

}  // namespace tandem::TANDEM_GPU
